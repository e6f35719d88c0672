"""Azure Front Door: a SAS of the blob, passed through. Front Door has no token authentication of its own.

What that means, and what the operator has to see to (Standard and Premium):

* The SAS is checked by Blob Storage, so only when Front Door asks it. **What is cached is served to whoever has the same URL,
  after the SAS has ended too**, until the cache lets go of it: keep the cache's life below the SAS's.
* The cache key must contain the query string ("Use Query String"), or one reader's SAS opens the object to all.
* Blob Storage sees Front Door's addresses, not the client's: a SAS bound to an address would refuse everybody, so ``ip=``
  is an error here.
* A rule that adds a hidden SAS makes everything public.

Service SAS, read only, one blob, https. https://learn.microsoft.com/rest/api/storageservices/create-service-sas
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import quote, unquote

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.keys import Key, hmac_key
from blobkit.cdn.model import CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_base64
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, InvalidArgument
from blobkit.plugins.spec import CdnPlugin
from blobkit.redaction import Secret

__all__ = ["FrontDoor", "FrontDoorPlugin", "plugin"]

VERSION: Final = "2021-12-02"
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}\Z")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class FrontDoor(Cdn):
    """One endpoint whose origin is a storage account.

    The path of a link is Front Door's; with the site's ``origin_path`` in front it is ``/container/blob``.

    Args:
        site: Where it is; a host alone will do.
        account: The storage account.
        key: The account's key: base64, its bytes, or what signs. The previous key cannot be told from it: Blob Storage takes
            both of an account's keys.

    Raises:
        ConfigError: Not an account's name, or a key that is not base64.
    """

    name: ClassVar[str] = "frontdoor"
    reserved: ClassVar[frozenset[str]] = frozenset(
        {"sv", "sr", "sp", "st", "se", "spr", "sip", "si", "sig", "snapshot", "versionid"}
        | {"rscc", "rscd", "rsce", "rscl", "rsct"}
    )
    capabilities = CdnCapabilities(
        restrictions=frozenset({Restriction.NOT_BEFORE}),
        weak="the edge checks nothing: cached content outlives its SAS",
    )

    def __init__(self, site: Site | str, account: str, key: Key) -> None:
        super().__init__(site)
        if not _ACCOUNT.match(account):
            raise ConfigError(f"not a storage account's name: {account!r}", provider=self.name)
        self._account = account
        self._key = hmac_key(key if callable(key) else _decoded(key), "sha256")
        self._sign: Callable[[bytes], bytes] = self._key.sign

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """``?st=…&se=…&sp=r&spr=https&sv=…&sr=b&sig=…``."""
        starts = None if terms.starts is None else _time(terms.starts)
        fields = {"st": starts, "se": _time(expires), "sp": "r", "spr": "https", "sv": VERSION, "sr": "b"}
        given = {name: value for name, value in fields.items() if value is not None}
        path = unquote(url[self._length :].partition("?")[0])
        signature = b64encode(self._sign(self._text(path, given))).decode("ascii")
        query = "&".join(f"{name}={quote(value, safe=':')}" for name, value in given.items())
        # A slash stays literal: some clients decode %2F in a query, and none encodes it.
        return f"{url}{'&' if '?' in url else '?'}{query}&sig={quote(signature, safe='/')}"

    def _text(self, path: str, fields: Mapping[str, str]) -> bytes:
        """What is signed: sp st se resource si sip spr sv sr snapshot ses rscc rscd rsce rscl rsct."""
        where = self.origin_path + path.removeprefix("/")
        container, slash, blob = where.partition("/")
        if not container or not slash or not blob:
            raise InvalidArgument("a blob's path is /container/blob", provider=self.name, hint="origin_path=CONTAINER/")
        lines = [
            fields.get("sp", ""),
            fields.get("st", ""),
            fields.get("se", ""),
            f"/blob/{self._account}/{container}/{blob}",
            "",
            "",
            fields.get("spr", ""),
            fields.get("sv", ""),
            fields.get("sr", ""),
            *[""] * 7,
        ]
        return "\n".join(lines).encode("utf-8")

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """What Blob Storage would say. Front Door itself would not ask while it has the object in its cache."""
        own = {} if cookies is not None else seen.own(self.reserved)[0]
        if "sig" not in own:
            raise Refused(Refusal.UNSIGNED, "there is no SAS")
        fields = {name: unquote(value) for name, value in own.items()}
        if (
            fields.get("sr") != "b"
            or fields.get("sv") != VERSION
            or fields.get("sp") != "r"
            or {"sip", "si"} & set(fields)
        ):
            raise Refused(Refusal.MALFORMED, "not a SAS for reading one blob, as it is made here")
        expires = _epoch(fields.get("se", ""))
        try:
            text = self._text(unquote(seen.path, errors="strict"), fields)
            signature = read_base64(fields["sig"])
        except (InvalidArgument, ValueError):
            raise Refused(Refusal.MALFORMED, "not a SAS, or not a blob's path", expires) from None
        if not hmac.compare_digest(self._sign(text), signature):
            raise Refused(Refusal.SIGNATURE, "the SAS is not of this blob, or of another key", expires)
        return seen.timely(expires, _epoch(fields["st"]) if "st" in fields else None)


def _time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime(_TIME)


def _epoch(text: str) -> int:
    try:
        return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise Refused(Refusal.MALFORMED, "not a SAS's time") from None


def _decoded(key: bytes | str | Secret) -> bytes:
    if isinstance(key, bytes):
        return key
    try:
        value = b64decode((key.reveal() if isinstance(key, Secret) else key).strip(), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value:
        raise ConfigError("the storage account's key is not base64", provider="frontdoor")
    return value


class FrontDoorPlugin(CdnPlugin):
    """``frontdoor://media.azurefd.net/?account=…&account_key_env=AZURE_STORAGE_KEY``."""

    scheme = "frontdoor"
    options = (
        Option("account", Kind.TEXT, "The storage account behind Front Door."),
        Option("account_key", Kind.SECRET, "Its key, base64."),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> FrontDoor:
        """Read the key."""
        account = config.text("account")
        if account is None:
            raise ConfigError("frontdoor needs account, the storage account behind it", provider=self.scheme)
        return FrontDoor(context.site(config), account, context.signing_key(config, "account_key"))


plugin = FrontDoorPlugin()
