"""What a plugin is: :class:`StorePlugin` and :class:`CdnPlugin`, one per scheme, and :class:`Observer`: many listeners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, Option, StoreConfig

if TYPE_CHECKING:
    from blobkit.backend import Backend
    from blobkit.blobs import BlobInfo
    from blobkit.cdn.base import Cdn
    from blobkit.cdn.opening import CdnContext
    from blobkit.signed import SignedRequest

__all__ = ["CdnPlugin", "Observer", "StorePlugin"]


class StorePlugin(ABC):
    """The entry point of one scheme. Its module imports no SDK: only :meth:`open` may.

    Attributes:
        scheme: The URL scheme.
        provider: The provider's name in errors, dicts and tokens.
        extra: The extra that installs what it needs: ``pip install "blobkit[extra]"``.
        location: How its URLs are read.
        options: Its options beside the common ones.
    """

    scheme: str
    provider: str
    extra: str
    location: Location
    options: Sequence[Option] = ()

    @abstractmethod
    def open(self, config: StoreConfig, context: OpenContext) -> Backend:
        """Make the backend. No network: a wrong credential shows at first use, a missing one here.

        Raises:
            ConfigError: Settings that cannot work together.
            PluginMissing: A package that this backend needs is not installed.
        """


class CdnPlugin(ABC):
    """The entry point of one CDN, in the group ``blobkit.cdns``. Its module imports no SDK.

    Attributes:
        scheme: The URL scheme, and the CDN's name in errors and dicts.
        extra: The extra that installs what it needs; empty when it needs nothing.
        location: How its URLs are read: the host, and the path below which the store's objects are.
        options: Its options beside the common ones.
    """

    scheme: str
    extra: str = ""
    location: Location = Location(authority="host")
    options: Sequence[Option] = ()

    @abstractmethod
    def open(self, config: StoreConfig, context: CdnContext) -> Cdn:
        """Make the signer. No network.

        Raises:
            ConfigError: Settings or a key that cannot work.
            CredentialsMissing: No key.
        """


class Observer:
    """Listens to what stores do. Derive, override what you need, and give instances as ``open_store(observers=[…])``.

    An observer runs in the caller's thread after the fact; what it raises is logged and changes nothing. Keys are relative
    to the store's prefix; signed requests print without their signatures.
    """

    def blobkit_signed(self, provider: str, operation: str, key: str, request: SignedRequest) -> None:
        """A request was signed by ``sign_upload``, ``sign_download`` or ``sign_delete`` (not per item of a batch)."""

    def blobkit_completed(self, provider: str, blob: BlobInfo) -> None:
        """A chunked session was completed and its object is at its key."""

    def blobkit_aborted(self, provider: str, key: str, discarded: bool) -> None:
        """A chunked session was aborted; ``discarded`` when nothing of it remains."""

    def blobkit_promoted(self, provider: str, source: str, blob: BlobInfo) -> None:
        """An object was copied, pinned, to the key it is served from."""
