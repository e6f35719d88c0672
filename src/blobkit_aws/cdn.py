"""Amazon CloudFront: signed URLs and cookies.

https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PrivateContent.html. A policy says what is allowed; its bytes
are signed with RSA-2048 (PKCS#1 v1.5) or ECDSA P-256 (ASN.1 DER) over SHA-256 or SHA-1. A *canned* policy is not sent:
CloudFront makes it up again from the URL and ``Expires``, so it must be these very bytes; a *custom* one is sent along.
Canned is used wherever it can say what was asked: the end alone, of one URL.

CloudFront compares with the URL as it arrives. A literal ``?`` in front of a query is ``\\?`` in a custom policy, and a
literal ``*`` in a name is ``%2A`` there, in the link too, since both are wildcards.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from blobkit.cdn.base import Cdn, Seen, Site
from blobkit.cdn.grants import PrefixGrant, Scope
from blobkit.cdn.keys import Hash, Key, SigningKey, public_pem_key
from blobkit.cdn.model import NO_TERMS, CdnCapabilities, Refusal, Refused, Restriction, Terms, Verdict
from blobkit.cdn.opening import CdnContext
from blobkit.cdn.texts import read_number
from blobkit.config import Kind, Option, StoreConfig
from blobkit.errors import ConfigError, CredentialsMissing
from blobkit.plugins.spec import CdnPlugin

__all__ = ["CloudFront", "CloudFrontPlugin", "canned_policy", "custom_policy", "plugin"]

LATEST: Final = 2**31 - 1
_TO_URL: Final = bytes.maketrans(b"+=/", b"-_~")
_FROM_URL: Final = bytes.maketrans(b"-_~", b"+=/")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}\Z")


def encode(value: bytes) -> str:
    """CloudFront's base64: the standard one with padding, then ``+ = /`` as ``- _ ~``."""
    return b64encode(value).translate(_TO_URL).decode("ascii")


def decode(text: str) -> bytes:
    """The reverse of :func:`encode`. Raises ValueError."""
    try:
        value = b64decode(text.encode("ascii").translate(_FROM_URL), validate=True)
    except Base64Error as error:
        raise ValueError("not CloudFront's base64") from error
    if encode(value) != text:
        raise ValueError("not CloudFront's base64, or not the one text for its bytes")
    return value


def canned_policy(url: str, expires: int) -> str:
    """The policy that CloudFront makes up for a URL with ``Expires``."""
    return f'{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}'


def custom_policy(resource: str, expires: int, *, starts: int | None = None, network: str | None = None) -> str:
    """A policy with wildcards in the resource, a beginning, or the client's range of IPv4 addresses (CIDR)."""
    condition: dict[str, dict[str, int | str]] = {"DateLessThan": {"AWS:EpochTime": expires}}
    if network is not None:
        condition["IpAddress"] = {"AWS:SourceIp": network}
    if starts is not None:
        condition["DateGreaterThan"] = {"AWS:EpochTime": starts}
    return json.dumps({"Statement": [{"Resource": resource, "Condition": condition}]}, separators=(",", ":"))


class CloudFront(Cdn):
    """One distribution.

    Args:
        site: Where it is; a host alone will do: ``d111111abcdef8.cloudfront.net``, or an alternate domain name.
        keys: Key-pair id to key: PEM (private, or public: it then verifies alone), or what signs. The first one signs;
            the others are those that are still, or already, in the key group.
        hash_algorithm: ``SHA256``, or ``SHA1``, which CloudFront takes for its default. A KMS signs SHA-256 alone.

    Raises:
        ConfigError: No key, a bad id, or a key of another kind or size.
    """

    name: ClassVar[str] = "cloudfront"
    reserved: ClassVar[frozenset[str]] = frozenset({"Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"})

    def __init__(
        self,
        site: Site | str,
        keys: Mapping[str, Key],
        *,
        hash_algorithm: Hash = "SHA256",
    ) -> None:
        super().__init__(site)
        if not keys:
            raise ConfigError("CloudFront needs a key", provider=self.name)
        if bad := [key_id for key_id in keys if not _KEY_ID.match(key_id)]:
            raise ConfigError(f"not a key-pair id: {bad[0]!r}", provider=self.name, hint="K2JCJMDEHXQW5F")
        if hash_algorithm not in ("SHA1", "SHA256"):
            raise ConfigError("hash_algorithm is SHA256 or SHA1", provider=self.name)
        self._hash: Hash = hash_algorithm
        self._given = dict(keys)
        self._keys: dict[tuple[str, Hash], SigningKey] = {
            (key_id, hash_algorithm): public_pem_key(key, hash_algorithm) for key_id, key in keys.items()
        }
        self._key_id = next(iter(keys))
        self._key = self._keys[self._key_id, hash_algorithm]
        self._sign = self._key.sign
        self._tail = f"&Key-Pair-Id={self._key_id}" + ("&Hash-Algorithm=SHA256" if hash_algorithm == "SHA256" else "")
        self.capabilities = CdnCapabilities(
            prefix=True,
            cookies=True,
            wildcards="*?",
            restrictions=frozenset({Restriction.NOT_BEFORE, Restriction.IPV4, Restriction.IP_RANGE}),
            latest=LATEST,
            verifiable=all(key.verify is not None for key in self._keys.values()),
        )

    # --- signing ------------------------------------------------------------------------------------------------------

    def link(self, url: str, expires: int, terms: Terms) -> str:
        """Canned unless a restriction was asked for."""
        if terms is not NO_TERMS and (terms.starts is not None or terms.network is not None):
            url = url.replace("*", "%2A")
            query = self._custom(url.replace("?", "\\?"), expires, terms)
            return f"{url}{'&' if '?' in url else '?'}{query}"
        policy = (
            f'{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}'
        )
        signature = b2a_base64(self._sign(policy.encode("ascii")), newline=False).translate(_TO_URL).decode("ascii")
        return f"{url}{'&' if '?' in url else '?'}Expires={expires}&Signature={signature}{self._tail}"

    def grant(self, scope: Scope, expires: int, terms: Terms) -> PrefixGrant:
        """A custom policy with a wildcard."""
        query = self._custom(_resource(scope), expires, terms)
        return PrefixGrant(scope, expires, query=query, reserved=self.reserved)

    def cookies(self, scope: Scope, expires: int, terms: Terms) -> Sequence[tuple[str, str]]:
        """CloudFront-Policy, -Signature, -Key-Pair-Id, and -Hash-Algorithm where it is not SHA-1."""
        pairs = (pair.split("=", 1) for pair in self._custom(_resource(scope), expires, terms).split("&"))
        return [(f"CloudFront-{name}", value) for name, value in pairs]

    def _custom(self, resource: str, expires: int, terms: Terms) -> str:
        network = None if terms.network is None else str(terms.network)
        policy = custom_policy(resource, expires, starts=terms.starts, network=network).encode("ascii")
        return f"Policy={encode(policy)}&Signature={encode(self._sign(policy))}{self._tail}"

    # --- verification -------------------------------------------------------------------------------------------------

    def check(self, seen: Seen, cookies: Mapping[str, str] | None) -> Verdict:
        """The signature first; then what the signed policy says."""
        if cookies is None:
            given, resource = seen.own(self.reserved)
        else:
            given = {name[11:]: value for name, value in cookies.items() if name.startswith("CloudFront-")}
            resource = seen.url
        if not given:
            raise Refused(Refusal.UNSIGNED, "there is no CloudFront signature")
        try:
            policy, signature = self._presented(given, resource)
        except ValueError as error:
            raise Refused(Refusal.MALFORMED, str(error)) from None
        name: Hash = "SHA256" if given.get("Hash-Algorithm") == "SHA256" else "SHA1"
        key = self._verifier(given["Key-Pair-Id"], name)
        if key is None:
            raise Refused(Refusal.UNKNOWN_KEY, f"{given['Key-Pair-Id']!r} is none of the keys {', '.join(self._given)}")
        if key.verify is None:
            raise Refused(Refusal.UNVERIFIABLE, "the key signs elsewhere and its public half is not known")
        if not key.verify(policy, signature):
            raise Refused(Refusal.SIGNATURE, "the signature is not of this URL or policy, or of another key or hash")
        return _judge(policy, resource, seen)

    def _presented(self, given: Mapping[str, str], resource: str) -> tuple[bytes, bytes]:
        """The policy's bytes and the signature. Raises ValueError."""
        for name in ("Signature", "Key-Pair-Id"):
            if name not in given:
                raise ValueError(f"{name} is missing")
        if given.get("Hash-Algorithm", "SHA1") not in ("SHA1", "SHA256"):
            raise ValueError("Hash-Algorithm is not SHA1 or SHA256")
        if ("Policy" in given) == ("Expires" in given):
            raise ValueError("there must be one of Expires and Policy")
        if "Policy" in given:
            return decode(given["Policy"]), decode(given["Signature"])
        expires = read_number(given["Expires"], "Expires")
        return canned_policy(resource, expires).encode("ascii"), decode(given["Signature"])

    def _verifier(self, key_id: str, hash_name: Hash) -> SigningKey | None:
        if key_id not in self._given:
            return None
        known = self._keys.get((key_id, hash_name))
        if known is None:
            known = self._keys[key_id, hash_name] = public_pem_key(self._given[key_id], hash_name)
        return known


def _resource(scope: Scope) -> str:
    """A scope as a policy's resource. In a pattern ``?`` is a wildcard, and so is ``*``."""
    return scope.url if scope.wild else f"{scope.url}*"


def _judge(policy: bytes, resource: str, seen: Seen) -> Verdict:
    """What a policy says of a request; its signature is good."""
    try:
        (statement,) = json.loads(policy)["Statement"]
        condition, pattern = statement["Condition"], statement["Resource"]
        expires = int(condition["DateLessThan"]["AWS:EpochTime"])
        begins = condition.get("DateGreaterThan")
        starts = None if begins is None else int(begins["AWS:EpochTime"])
        address = condition.get("IpAddress")
        ranges = None if address is None else [str(address["AWS:SourceIp"])]
        fits = _pattern(str(pattern)).match(resource) is not None or pattern == resource
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused(Refusal.MALFORMED, "the policy is not one that CloudFront takes") from None
    if not fits:
        raise Refused(Refusal.RESOURCE, f"the policy is for {pattern}", expires)
    verdict = seen.timely(expires, starts)
    if ranges is not None:
        seen.within(ranges)
    return verdict


def _pattern(resource: str) -> re.Pattern[str]:
    """A resource as a regular expression. Wildcards stay inside scheme, host, path and query, but one at the end of the
    path also covers the query, and one at the end of the host path and query.
    """
    scheme, separator, rest = resource.partition("://")
    if not separator:
        scheme, rest = "*", resource
    host, slash, path = rest.partition("/")
    path, question, query = path.partition("\\?")
    pieces = [_wild(scheme, "[^:/]"), "://", _wild(host, "[^/]")]
    if host.endswith("*") and not slash:
        pieces.append("(?:/.*)?")
    if slash:
        pieces += ["/", _wild(path, "." if "?" in path and not question else "[^?]")]
    if question:
        pieces += [r"\?", _wild(query, ".")]
    elif path.endswith("*"):
        pieces.append(r"(?:\?.*)?")
    return re.compile("".join(pieces) + r"\Z", re.DOTALL)


def _wild(text: str, any_char: str) -> str:
    return "".join(
        f"{any_char}*" if piece == "*" else any_char if piece == "?" else re.escape(piece)
        for piece in re.split("([*?])", text)
    )


class CloudFrontPlugin(CdnPlugin):
    """``cloudfront://d111111abcdef8.cloudfront.net/``."""

    scheme = "cloudfront"
    options = (
        Option("key_pair_id", Kind.TEXT, "The id of the public key in the distribution's key group."),
        Option("private_key", Kind.SECRET, "Its private key, PEM."),
        Option("previous_key_pair_id", Kind.TEXT, "A second key of the group, which is still honoured."),
        Option("previous_key", Kind.SECRET, "It, PEM, private or public."),
        Option("hash_algorithm", Kind.CHOICE, "What is signed.", "SHA256", ("SHA256", "SHA1")),
    )

    def open(self, config: StoreConfig, context: CdnContext) -> CloudFront:
        """Load the keys."""
        key_id = config.text("key_pair_id")
        if key_id is None:
            raise CredentialsMissing("cloudfront needs key_pair_id", provider=self.scheme)
        keys: dict[str, Key] = {key_id: context.signing_key(config, "private_key")}
        older, older_key = config.text("previous_key_pair_id"), config.secret("previous_key")
        if (older is None) != (older_key is None) or older == key_id:
            raise ConfigError("previous_key_pair_id and previous_key belong together, and name another key")
        if older is not None and older_key is not None:
            keys[older] = older_key
        return CloudFront(
            context.site(config),
            keys,
            hash_algorithm="SHA1" if config.text("hash_algorithm") == "SHA1" else "SHA256",
        )


plugin = CloudFrontPlugin()
