"""The client side: the only executor of upload plans, and ranged downloads. It knows plans and URLs, and no provider.

``upload(path, session | plan)`` and ``download(request, path)``; ``python -m blobkit.transfer`` is the same as a process of its
own. Needs the ``transfer`` extra (urllib3), which is imported when something is moved.
"""

from __future__ import annotations

from blobkit.transfer.download import DownloadResult, download
from blobkit.transfer.progress import Progress
from blobkit.transfer.upload import UploadResult, upload

__all__ = ["DownloadResult", "Progress", "UploadResult", "download", "upload"]
