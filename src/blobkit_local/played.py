"""What is played so that a service can be tried against other providers' ways, beyond what the engine plays itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from blobkit.backend import DownloadOrder, SessionState, Signer, UploadOrder

if TYPE_CHECKING:
    from blobkit.blobs import Checksum
    from blobkit.chunking import Chunk
    from blobkit.signed import SignedChunk, SignedRequest
    from blobkit.spec import UploadSpec

__all__ = ["SignerWithIO"]


class SignerWithIO:
    """A signer that fetches its key for every signature, as one that has to ask a service does.

    A key file that went away, or that others may read now, shows at signing and not before.

    Args:
        fetch: Reads the key, and gives a signer with it.
    """

    __slots__ = ("_fetch",)

    def __init__(self, fetch: Callable[[], Signer]) -> None:
        self._fetch = fetch

    @property
    def valid_until(self) -> int | None:
        """The key does not end."""
        return None

    def upload(
        self, key: str, order: UploadOrder, start: int, end: int, spec: UploadSpec | None = None
    ) -> SignedRequest:
        """See :class:`blobkit.backend.Signer`."""
        return self._fetch().upload(key, order, start, end, spec)

    def uploads(self, items: Sequence[tuple[str, UploadOrder]], start: int, end: int) -> Sequence[SignedRequest]:
        """See :class:`blobkit.backend.Signer`."""
        return self._fetch().uploads(items, start, end)

    def download(self, key: str, order: DownloadOrder, start: int, end: int) -> SignedRequest:
        """See :class:`blobkit.backend.Signer`."""
        return self._fetch().download(key, order, start, end)

    def delete(self, key: str, start: int, end: int) -> SignedRequest:
        """See :class:`blobkit.backend.Signer`."""
        return self._fetch().delete(key, start, end)

    def chunks(
        self, state: SessionState, chunks: Sequence[Chunk], checksums: Mapping[int, Checksum], start: int, end: int
    ) -> Sequence[SignedChunk]:
        """See :class:`blobkit.backend.Signer`."""
        return self._fetch().chunks(state, chunks, checksums, start, end)
