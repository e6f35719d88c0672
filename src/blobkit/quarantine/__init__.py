"""Look at what was uploaded before anybody is served it: checks of one exact content, and what they say."""

from __future__ import annotations

from blobkit.quarantine.archives import ArchiveLimits
from blobkit.quarantine.checks import AllowedTypes, Check, ChecksumMatches, Custom, MaxSize, SizeMatches
from blobkit.quarantine.clamav import ClamAV
from blobkit.quarantine.examining import Examination, examine
from blobkit.quarantine.flow import Examined, Quarantine
from blobkit.quarantine.images import ImageLimits
from blobkit.quarantine.sniffing import ContentTypeMatches
from blobkit.quarantine.subject import Declared, Subject
from blobkit.quarantine.verdict import Verdict

__all__ = [
    "AllowedTypes",
    "ArchiveLimits",
    "Check",
    "ChecksumMatches",
    "ClamAV",
    "ContentTypeMatches",
    "Custom",
    "Declared",
    "Examination",
    "Examined",
    "ImageLimits",
    "MaxSize",
    "Quarantine",
    "SizeMatches",
    "Subject",
    "Verdict",
    "examine",
]
