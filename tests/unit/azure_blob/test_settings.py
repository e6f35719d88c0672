"""Options, environment and connection strings of ``az://``: what they come to, and what is refused."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

import blobkit
from blobkit.errors import ConfigError, CredentialsMissing, Unsupported
from blobkit.signed import SignedRequest

KEY = base64.b64encode(bytes(range(64))).decode()
LIFE = timedelta(minutes=5)


def signed(url: str, env: dict[str, str] | None = None) -> SignedRequest:
    """A download signed by the store at this URL."""
    with blobkit.open_store(url, env={"KEY": KEY} if env is None else env) as store:
        return store.sign_download("a/b c.txt", expires_in=LIFE)


def where(url: str, env: dict[str, str] | None = None) -> str:
    """What a signed URL has before its query."""
    return signed(url, env).url.reveal().partition("?")[0]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ("", "https://acct.blob.core.windows.net/media/p/"),
        ("&endpoint_suffix=core.chinacloudapi.cn", "https://acct.blob.core.chinacloudapi.cn/media/p/"),
        ("&endpoint=http://127.0.0.1:10000", "http://127.0.0.1:10000/acct/media/p/"),
        ("&endpoint=http://127.0.0.1:10000/acct/", "http://127.0.0.1:10000/acct/media/p/"),
        ("&endpoint=http://azurite:10000&allow_http=true", "http://azurite:10000/acct/media/p/"),
        ("&endpoint=https://acct.blob.storage.azure.net", "https://acct.blob.storage.azure.net/media/p/"),
        ("&public_endpoint=https://media.example.com", "https://media.example.com/media/p/"),
    ],
)
def test_hosts_of_every_kind(options: str, place: str) -> None:
    assert where(f"az://acct/media/p/?account_key_env=KEY{options}") == f"{place}a/b%20c.txt"


def test_the_same_is_signed_whatever_the_host() -> None:
    def signature(options: str) -> str:
        fixed = blobkit.open_store(f"az://acct/media/?account_key_env=KEY{options}", env={"KEY": KEY})
        with fixed as store:
            return (
                store._calls.signer(2_000_000_000)[0].delete("k", 0, 2_000_000_000).url.reveal().partition("&sig=")[2]
            )

    assert signature("") == signature("&public_endpoint=https://media.example.com")
    assert signature("") == signature("&endpoint=https://10.0.0.1/acct")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"AccountName=acct;AccountKey={KEY}", "https://acct.blob.core.windows.net/media/"),
        (
            f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.usgovcloudapi.net;",
            "https://acct.blob.core.usgovcloudapi.net/media/",
        ),
        (f"BlobEndpoint=https://cdn.example.com/;AccountName=acct;AccountKey={KEY}", "https://cdn.example.com/media/"),
    ],
)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_connection_strings(text: str, place: str, how: str) -> None:
    if how == "option":
        assert where("az://acct/media/?connection_string_env=TEXT", {"TEXT": text}).startswith(place)
    else:
        assert where("az://acct/media/", {"AZURE_STORAGE_CONNECTION_STRING": text}).startswith(place)


def test_the_emulators_connection_string() -> None:
    env = {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"}
    assert where("az://devstoreaccount1/media/", env).startswith("http://127.0.0.1:10000/devstoreaccount1/media/")


def test_a_key_of_the_environment_is_used_for_its_own_account_alone() -> None:
    env = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": KEY}
    assert where("az://acct/media/", env)
    with blobkit.open_store("az://other/media/", env=env) as store:
        assert store.capabilities.limits.max_expiry is not None, "an identity signs there: for seven days at most"
    other = {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acct;AccountKey={KEY}"}
    with blobkit.open_store("az://other/media/", env=other) as store:
        assert store.capabilities.limits.max_expiry is not None


@pytest.mark.parametrize(
    "url",
    [
        "az://Acct/media/?account_key_env=KEY",
        "az://a/media/?account_key_env=KEY",
        "az://acct/Media/?account_key_env=KEY",
        "az://acct/a--b/?account_key_env=KEY",
        "az://acct/media/?account_key_env=BAD",
        "az://acct/media/?account_key_env=KEY&endpoint=http://storage.example.com",
        "az://acct/media/?account_key_env=KEY&endpoint=ftp://127.0.0.1",
        "az://acct/media/?account_key_env=KEY&endpoint=https://u:p@127.0.0.1",
        "az://acct/media/?account_key_env=KEY&endpoint_suffix=no_domain",
        "az://acct/media/?account_key_env=KEY&sas_token_env=KEY",
        "az://acct/media/?account_key_env=KEY&share_sas=true",
        "az://acct/media/?account_key_env=KEY&sas_version=2015-04-05",
        "az://acct/media/?account_key_env=KEY&sas_version=new",
        "az://acct/media/?account_key_env=KEY&sas_ip=::1",
        "az://acct/media/?access_token_env=KEY&stored_policy=p",
        "az://acct/media/?access_token_env=KEY&endpoint=http://127.0.0.1:1",
        "az://acct/media/?connection_string_env=KEY",
        "az://acct/media/?sas_token_env=KEY&share_sas=true",
        "az://acct/media/?sas_token_env=WITHOUT_END&share_sas=true",
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(url: str) -> None:
    env = {"KEY": KEY, "BAD": "not base64!", "WITHOUT_END": "sv=2022-11-02&si=policy&sr=c&sig=x"}
    with pytest.raises(ConfigError):
        blobkit.open_store(url, env=env)


def test_a_connection_string_without_a_credential_is_missing_one() -> None:
    with pytest.raises(CredentialsMissing):
        blobkit.open_store("az://acct/media/?connection_string_env=TEXT", env={"TEXT": "AccountName=acct"})


def test_addresses_and_protocol_are_signed() -> None:
    url = signed("az://acct/media/?account_key_env=KEY&sas_ip=168.1.5.60-168.1.5.70").url.reveal()
    assert "&sip=168.1.5.60-168.1.5.70&spr=https&" in url
    assert (
        "&spr=https%2Chttp&" in signed("az://acct/media/?account_key_env=KEY&endpoint=http://127.0.0.1:1").url.reveal()
    )


TABLE: dict[str, dict[str, Any]] = {
    "account_key_env=KEY": {"if_absent": "signature"},
    "access_token_env=KEY&sas_version=2025-11-05": {"if_absent": "signature"},
    "access_token_env=KEY": {
        **dict.fromkeys(
            ["content_type", "metadata", "cache_control", "content_disposition", "content_encoding", "storage_class"],
            "signature",
        ),
        "if_absent": "signature",
        "size": None,
        "checksum": None,
    },
    "sas_token_env=WIDE&share_sas=true": {},
    "sas_token_env=CREATE&share_sas=true": {"if_absent": "signature"},
}


@pytest.mark.parametrize("options", TABLE)
def test_who_enforces_what_on_a_put(options: str) -> None:
    sas = "sv=2022-11-02&se=2030-01-01T00:00:00Z&sr=c&sig=x&sp="
    env = {"KEY": KEY, "WIDE": f"{sas}racwdl", "CREATE": f"{sas}cl"}
    with blobkit.open_store(f"az://acct/media/?{options}", env=env) as store:
        found: dict[str, Any] = {str(c): store.capabilities.enforcer(blobkit.Route.PUT, c) for c in blobkit.Constraint}
        assert found == {**dict.fromkeys(map(str, blobkit.Constraint), False), **TABLE[options]}
        for constraint, who in found.items():
            if who:
                continue
            ways: dict[str, dict[str, Any]] = {
                "size": {"size": 1}, "size_range": {"max_size": 1}, "metadata": {"metadata": {"a": "1"}},
                "checksum": {"checksum": blobkit.Checksum.of("md5", b"")}, "if_absent": {"if_absent": True},
                "content_type": {"content_type": "image/png"},
            }  # fmt: skip
            given: dict[str, Any] = ways.get(constraint, {constraint: "x"})
            with pytest.raises(blobkit.UnenforceableConstraint) as refusal:
                store.sign_upload("k", **given)
            assert refusal.value.constraint == constraint


def test_a_signature_that_is_not_shared_signs_nothing() -> None:
    env = {"SAS": "?sv=2022-11-02&se=2030-01-01&sr=c&sp=racwdl&sig=x"}
    with blobkit.open_store("az://acct/media/?sas_token_env=SAS", env=env) as store, pytest.raises(Unsupported):
        store.sign_download("k")
    with blobkit.open_store("az://acct/media/?sas_token_env=SAS&share_sas=on", env=env) as store:
        assert (
            store.sign_download("k").url.reveal().endswith("/media/k?sv=2022-11-02&se=2030-01-01&sr=c&sp=racwdl&sig=x")
        )


@pytest.mark.parametrize("key", ["a\\b", "a.", "a./b", "a/.../b", "a/" * 254 + "b"])
def test_names_that_azure_would_change_are_refused(key: str) -> None:
    with (
        blobkit.open_store("az://acct/media/?account_key_env=KEY", env={"KEY": KEY}) as store,
        pytest.raises(blobkit.InvalidKey),
    ):
        store.sign_upload(key)


def test_a_store_prints_no_secret() -> None:
    with blobkit.open_store("az://acct/media/?account_key_env=KEY", env={"KEY": KEY}) as store:
        backend: Any = store._calls.backend
        signer, _ = store._calls.signer(2_000_000_000)
        for shown in (store, store.config, backend.config, backend.config.key, signer):
            text = repr(shown)
            assert KEY not in text
            assert "\\x01\\x02" not in text
