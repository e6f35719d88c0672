"""The keys of a local store: one secret in a file of mode 0600, and a separate key for each purpose derived from it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from blobkit.errors import ConfigError
from blobkit_local import disk

__all__ = ["Keys", "load_keys"]

_HEADER: Final = "blobkit-keys-1"
_SIZE: Final = 32


class Keys:
    """Keys for separate purposes, none of which tells another. Prints as ``Keys(***)``."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Keys(***)"

    def derive(self, purpose: str) -> bytes:
        """32 bytes: HKDF-Expand (RFC 5869) with one block, the secret being uniformly random already."""
        return hmac.new(self._secret, b"blobkit-local/" + purpose.encode() + b"\x01", hashlib.sha256).digest()

    @property
    def signing(self) -> bytes:
        """Signs URLs."""
        return self.derive("signing")

    @property
    def sealing(self) -> bytes:
        """Seals session tokens."""
        return self.derive("sealing")

    @property
    def webhook(self) -> bytes:
        """Signs the webhook's requests when no secret was configured."""
        return self.derive("webhook")


def load_keys(path: Path) -> Keys:
    """Read the key file, or make it: of two processes that make it at once, one wins, and both read the winner's.

    Raises:
        ConfigError: Others may read it, or it is not a key file.
    """
    for _ in range(2):
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
    return _read(path)


def _read(path: Path) -> Keys:
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="check its owner and mode") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})", hint=f"chmod 600 {path}")
    header, _, encoded = text.strip().partition(":")
    secret = b""
    with suppress(binascii.Error):
        secret = base64.b64decode(encoded, validate=True)
    if header != _HEADER or len(secret) != _SIZE:
        raise ConfigError(
            f"{path} is not a key file of this version",
            hint="restore it; or remove it, which ends every signed URL and session token",
        )
    return Keys(secret)


def _make(path: Path) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    text = f"{_HEADER}:{base64.b64encode(secrets.token_bytes(_SIZE)).decode()}\n"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            disk.write(fd, text.encode())
            disk.sync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):  # another process was first: its keys are the keys
            os.link(temporary, path)
        disk.sync_dir(path.parent)
    finally:
        disk.remove(temporary)
