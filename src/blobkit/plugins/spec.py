"""What a plugin is: :class:`StorePlugin` (one per scheme), and :class:`Observer` (many listeners, through pluggy)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blobkit.config import Location, OpenContext, Option, StoreConfig

if TYPE_CHECKING:
    from blobkit.backend import Backend
    from blobkit.blobs import BlobInfo
    from blobkit.signed import SignedRequest

__all__ = ["Observer", "StorePlugin"]


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
