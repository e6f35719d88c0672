"""The client side: the only executor of upload plans, and ranged downloads. It knows plans and URLs, and no provider.

``upload(path, session | plan | service)``, ``download(request, path)`` and ``stream(request, out)``;
:mod:`blobkit.transfer.aio` has the same to await; ``python -m blobkit.transfer`` is the same as a process of its own. All of
it needs nothing but the standard library; the journal of uploads that can be resumed needs the ``transfer`` extra.
"""

from __future__ import annotations

from blobkit.transfer.download import DownloadResult, download, stream
from blobkit.transfer.pace import Bandwidth
from blobkit.transfer.progress import Progress
from blobkit.transfer.retry import Patience
from blobkit.transfer.upload import UploadResult, upload
from blobkit.transfer.workers import Stop

__all__ = [
    "Bandwidth",
    "DownloadResult",
    "Patience",
    "Progress",
    "Stop",
    "UploadResult",
    "download",
    "stream",
    "upload",
]
