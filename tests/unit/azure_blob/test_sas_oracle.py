"""Every byte that is signed equals what azure-storage-blob signs, over generated grants."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from azure.storage.blob import (
    UserDelegationKey,
    _shared_access_signature,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.blob._serialize import _SUPPORTED_API_VERSIONS
from azure.storage.blob._shared.shared_access_signature import SharedAccessSignature
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.counts import examples

from blobkit.errors import InvalidArgument
from blobkit_azure.signing import AccountGrant, AccountKey, DelegationKey, Grant, account_sas, service_sas
from blobkit_azure.signing.sas import HEADERS_SINCE, SCOPE_SINCE

KEY = AccountKey("acct", bytes(range(64)))
KEY_TEXT = base64.b64encode(KEY.value).decode()
SERVICE_VERSIONS = [version for version in _SUPPORTED_API_VERSIONS if version >= SCOPE_SINCE]
"""The SDK writes the newest text whatever the version: these are the versions for which that is right."""
DELEGATION_VERSIONS = [version for version in _SUPPORTED_API_VERSIONS if version >= HEADERS_SINCE]

names = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=60)
texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30)
maybe = st.none() | texts
ids = st.uuids().map(str)
times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
pairs = st.dictionaries(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), texts, max_size=3
)
containers = st.sampled_from(["media", "$web", "a-b-c"])


def letters(order: str) -> st.SearchStrategy[str]:
    """Permissions in the service's own order."""
    return st.sets(st.sampled_from(order), min_size=1).map(lambda some: "".join(sorted(some, key=order.index)))


common = {
    "expiry": times,
    "start": st.none() | times,
    "ip": st.none() | st.sampled_from(["168.1.5.65", "168.1.5.60-168.1.5.70"]),
    "protocol": st.none() | st.sampled_from(["https", "https,http"]),
    "scope": maybe,
}
overrides = dict.fromkeys(
    ["cache_control", "content_disposition", "content_encoding", "content_language", "content_type"], maybe
)
service_grants = st.fixed_dictionaries(
    {**common, **overrides, "version": st.sampled_from(SERVICE_VERSIONS), "policy": st.none() | ids}
)
delegation_grants = st.fixed_dictionaries(
    {
        **common,
        **overrides,
        "version": st.sampled_from(DELEGATION_VERSIONS),
        "headers": pairs,
        "query": pairs,
        "user_oid": st.none() | ids,
        "correlation": st.none() | ids,
        "authorized_oid": st.none() | ids,
        "unauthorized_oid": st.none() | ids,
    }
)
delegation_keys = st.builds(
    DelegationKey,
    st.just("acct"),
    st.binary(min_size=32, max_size=32),
    ids,
    ids,
    times,
    times,
    st.just("b"),
    st.sampled_from(DELEGATION_VERSIONS),
    st.none() | ids,
)
_NAMES = {
    "scope": "encryption_scope",
    "policy": "policy_id",
    "headers": "request_headers",
    "query": "request_query_params",
    "user_oid": "user_delegation_oid",
    "correlation": "correlation_id",
    "authorized_oid": "preauthorized_agent_object_id",
    "unauthorized_oid": "agent_object_id",
}


def theirs(call: Any, asked: dict[str, Any], *place: str, permissions: str, **more: Any) -> str:
    """The SDK's SAS of the same grant, with the version that is asked for."""
    words = {_NAMES.get(name, name): value for name, value in asked.items() if name != "version" and value}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_shared_access_signature, "X_MS_VERSION", asked["version"])
        return str(call("acct", *place, permission=permissions, **words, **more))


def sdk_key(key: DelegationKey) -> UserDelegationKey:
    """The same key as the SDK's."""
    made = UserDelegationKey()  # type: ignore[no-untyped-call]
    made.signed_oid, made.signed_tid = key.oid, key.tid
    made.signed_start, made.signed_expiry = key.start, key.expiry
    made.signed_service, made.signed_version = key.service, key.version
    made.signed_delegated_user_tid = key.user_tid
    made.value = base64.b64encode(key.value).decode()
    return made


targets = st.sampled_from(["b", "bs", "bv"])


@settings(max_examples=examples(80))
@given(service_grants, letters("racwdxytmei"), containers, names, targets)
def test_a_service_sas_of_a_blob_equals_the_sdks(
    asked: dict[str, Any], permissions: str, container: str, key: str, target: str
) -> None:
    at = {"b": {}, "bs": {"snapshot": "2026-01-02T03:04:05.1234567Z"}, "bv": {"version_id": "2026-01-02T03:04:05.7Z"}}
    expected = theirs(
        generate_blob_sas, asked, container, key, permissions=permissions, account_key=KEY_TEXT, **at[target]
    )
    snapshot = next(iter(at[target].values()), None)
    grant = Grant(permissions=permissions, resource=target, snapshot=snapshot, **asked)  # type: ignore[arg-type]
    assert service_sas(grant, KEY, container, key) == expected


@settings(max_examples=examples(40))
@given(service_grants, letters("racwdxyltfmei"), containers)
def test_a_service_sas_of_a_container_equals_the_sdks(asked: dict[str, Any], permissions: str, container: str) -> None:
    expected = theirs(generate_container_sas, asked, container, permissions=permissions, account_key=KEY_TEXT)
    assert service_sas(Grant(permissions=permissions, resource="c", **asked), KEY, container) == expected


@settings(max_examples=examples(80))
@given(delegation_grants, letters("racwdxytmei"), delegation_keys, containers, names, targets)
def test_a_user_delegation_sas_of_a_blob_equals_the_sdks(
    asked: dict[str, Any], permissions: str, key: DelegationKey, container: str, blob: str, target: str
) -> None:
    at = {"b": {}, "bs": {"snapshot": "2026-01-02T03:04:05.1234567Z"}, "bv": {"version_id": "2026-01-02T03:04:05.7Z"}}
    expected = theirs(
        generate_blob_sas,
        asked,
        container,
        blob,
        permissions=permissions,
        user_delegation_key=sdk_key(key),
        **at[target],
    )
    snapshot = next(iter(at[target].values()), None)
    grant = Grant(permissions=permissions, resource=target, snapshot=snapshot, **asked)  # type: ignore[arg-type]
    assert service_sas(grant, key, container, blob) == expected


@settings(max_examples=examples(40))
@given(delegation_grants, letters("racwdxyltfmei"), delegation_keys, containers)
def test_a_user_delegation_sas_of_a_container_equals_the_sdks(
    asked: dict[str, Any], permissions: str, key: DelegationKey, container: str
) -> None:
    expected = theirs(
        generate_container_sas, asked, container, permissions=permissions, user_delegation_key=sdk_key(key)
    )
    assert service_sas(Grant(permissions=permissions, resource="c", **asked), key, container) == expected


@settings(max_examples=examples(20))
@given(delegation_grants, delegation_keys, st.lists(st.sampled_from(["a", "b c", "é"]), min_size=1, max_size=4))
def test_a_sas_of_a_directory_equals_the_sdks(asked: dict[str, Any], key: DelegationKey, path: list[str]) -> None:
    directory = "/".join(path)
    expected = theirs(
        generate_blob_sas, asked, "media", directory, permissions="rw", user_delegation_key=sdk_key(key),
        is_directory=True,
    )  # fmt: skip
    grant = Grant(permissions="rw", resource="d", depth=len(path), **asked)
    assert service_sas(grant, key, "media", directory) == expected


@settings(max_examples=examples(40))
@given(
    st.fixed_dictionaries({**common, "version": st.sampled_from(SERVICE_VERSIONS)}),
    letters("rwdxylacuptfi"),
    letters("bqtf"),
    letters("sco"),
)
def test_an_account_sas_equals_the_sdks(asked: dict[str, Any], permissions: str, services: str, resources: str) -> None:
    words = {_NAMES.get(name, name): value for name, value in asked.items() if name not in ("version", "scope")}
    words = {name: value for name, value in words.items() if value}
    helper: Any = SharedAccessSignature("acct", KEY_TEXT, asked["version"])  # type: ignore[no-untyped-call]
    scope = {"encryption_scope": asked["scope"]} if asked["scope"] else {}
    expected = helper.generate_account(services, resources, permissions, **words, **scope)
    grant = AccountGrant(permissions=permissions, services=services, resources=resources, **asked)
    assert account_sas(grant, KEY) == expected


def test_the_sdks_own_account_sas_is_the_same_one() -> None:
    expiry, newest = "2030-01-02T03:04:05Z", _SUPPORTED_API_VERSIONS[-1]
    expected = generate_account_sas("acct", KEY_TEXT, "co", "rl", expiry)
    assert account_sas(AccountGrant(newest, "rl", expiry, resources="co"), KEY) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"version": "2020-10-02", "scope": "s"},
        {"version": "2015-04-05", "snapshot": "t", "resource": "bs"},
        {"version": "2022-11-02", "headers": {"a": "b"}},
        {"version": "2026-04-06", "headers": {"a": "b"}},
        {"version": "2026-04-06", "user_oid": "u"},
        {"version": "2026-04-06", "content_type": "text/plain\nw"},
    ],
)
def test_a_field_that_would_not_be_signed_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        service_sas(Grant(permissions="r", expiry="2030-01-02T03:04:05Z", **more), KEY, "media", "k")


@pytest.mark.parametrize(
    "more", [{"policy": "p"}, {"version": "2015-04-05"}, {"version": "2025-05-05", "user_oid": "u"}]
)
def test_what_a_delegation_key_cannot_sign_is_refused(more: dict[str, Any]) -> None:
    key = DelegationKey("acct", bytes(32), "o", "t", "s", "e", "b", "2026-04-06")
    with pytest.raises(InvalidArgument):
        service_sas(Grant(**{"version": "2026-04-06", "permissions": "r", "expiry": "x", **more}), key, "media", "k")
