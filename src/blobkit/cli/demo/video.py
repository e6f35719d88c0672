"""The file that the demo moves: incompressible bytes in the boxes of an MP4 file, made as fast as a disk writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["digest_of", "write_video"]

_BLOCK: Final = 4 << 20
# ISO/IEC 14496-12: a file type box, then one media data box with a 64-bit size.
_FTYP: Final = (24).to_bytes(4, "big") + b"ftypisom" + (512).to_bytes(4, "big") + b"isommp42"
_MDAT: Final = (1).to_bytes(4, "big") + b"mdat"
_HEAD: Final = len(_FTYP) + len(_MDAT) + 8


def write_video(path: Path, size: int, progress: Callable[[int], None]) -> bytes:
    """Write ``size`` bytes; returns their SHA-256, computed on the way."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    digest = hashlib.sha256()
    # AES-CTR of zeros: as random as video, the same in every run, and several times faster than os.urandom.
    stream = Cipher(algorithms.AES(b"blobkit's video!"), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(_BLOCK)
    head = (_FTYP + _MDAT + max(0, size - len(_FTYP)).to_bytes(8, "big"))[:size]
    with path.open("wb") as file:
        file.write(head)
        digest.update(head)
        done = len(head)
        while done < size:
            block = stream.update(zeros[: min(_BLOCK, size - done)])
            file.write(block)
            digest.update(block)
            done += len(block)
            progress(done)
    return digest.digest()


def digest_of(path: Path, progress: Callable[[int], None]) -> bytes:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress(done)
    return digest.digest()
