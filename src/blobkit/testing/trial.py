"""What one test of the suite has in its hands: a fresh prefix of the store under test, clients, and the kit's questions.

The questions make skips visible: :meth:`Trial.declares` notes what a store does not claim (the test then asserts the right
error), :meth:`Trial.needs` ends a test as "not checkable on this server", with a name that is counted.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

import pytest

from blobkit.backend import Feature
from blobkit.blobs import BlobInfo
from blobkit.errors import UnenforceableConstraint, Unsupported
from blobkit.session import UploadSession
from blobkit.signed import SignedChunk, SignedRequest
from blobkit.spec import Constraint, Route, UploadSpec
from blobkit.store import Store
from blobkit.testing import executor
from blobkit.testing.clients import Answer, Client
from blobkit.testing.clock import FakeClock
from blobkit.testing.collecting import NOT_CHECKABLE, UNDECLARED
from blobkit.testing.harness import Harness

__all__ = ["Trial", "one_bit_off", "random_bytes", "signature_field", "signature_of", "with_signature"]

_SIGNATURE: Final = re.compile(r"(?:^|[?&])([^=&]*(?:signature|sig))=([^&]*)", re.IGNORECASE)
_ALPHABETS: Final = ("0123456789abcdef", "0123456789ABCDEF")
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@functools.lru_cache(maxsize=32)
def random_bytes(size: int, seed: int = 0) -> bytes:
    """So many bytes that do not repeat; the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - test data


def signature_of(url: str) -> str | None:
    """The signature in a URL, as it stands there; None for a URL that has none (a bearer URL)."""
    found = _SIGNATURE.search(url)
    return found.group(2) if found else None


def signature_field(fields: Mapping[str, str]) -> str:
    """The name of the form field that carries the signature. Raises LookupError when there is none."""
    for name in fields:
        if _SIGNATURE.fullmatch(f"{name}="):
            return name
    raise LookupError("the form has no signature")


def with_signature(url: str, signature: str) -> str:
    """The URL with another signature."""
    found = _SIGNATURE.search(url)
    if found is None:
        raise LookupError("the URL has no signature")
    return url[: found.start(2)] + signature + url[found.end(2) :]


def one_bit_off(signature: str) -> str:
    """The signature with one bit changed, still of the same alphabet and length."""
    plain = unquote(signature)
    alphabet = next((letters for letters in _ALPHABETS if set(plain) <= set(letters)), _BASE64)
    place = next(i for i in range(len(plain) // 2, len(plain)) if plain[i] in alphabet)
    # Neighbours at even places differ in the last bit of what the character stands for.
    changed = alphabet[alphabet.index(plain[place]) ^ 1]
    return quote(plain[:place] + changed + plain[place + 1 :], safe="-_.~")


class Trial:
    """One test's view of the store under test.

    Attributes:
        harness: The harness.
        prefix: The full prefix that belongs to this test alone.
        store: The store at that prefix.
        client: The plainest HTTP stack.
        clients: All of them.
    """

    def __init__(self, harness: Harness, note: Callable[[str, str], None]) -> None:
        self.harness = harness
        self.prefix = harness.new_prefix()
        self._note = note
        self._opened: list[Store] = []
        self.store = self.open()
        self.clients = list(harness.clients or ())
        self.client: Client = self.clients[0]

    def close(self) -> None:
        """Close every store that this test opened."""
        for store in self._opened:
            store.close()

    # --- stores ---

    def open(self, *, clock: Callable[[], datetime] | None = None, other: str | None = None) -> Store:
        """The same place once more: another client of the store, perhaps with another clock."""
        store = self.harness.open(self.prefix, clock=clock, other=other)
        self._opened.append(store)
        return store

    def past(self, distance: timedelta) -> Store:
        """The same place, seen by a service whose clock is this far behind."""
        return self.open(clock=FakeClock.ago(distance))

    # --- what the store claims, and what its server checks ---

    def declares(self, what: Feature | tuple[Route, Constraint]) -> bool:
        """Whether the store declares it. When not, the report lists it; the test asserts the error that then is due."""
        capabilities = self.store.capabilities
        if isinstance(what, tuple):
            route, constraint = what
            declared = bool(capabilities.enforcer(route, constraint))
            name = f"{route}.{constraint}"
        else:
            declared, name = capabilities.has(what), str(what)
        if not declared:
            self.undeclared(name)
        return declared

    def has_sessions(self) -> bool:
        """Whether the store has chunked sessions; when not, asserts that it refuses to start one."""
        if self.declares(Feature.CHUNKED):
            return True
        with pytest.raises(Unsupported) as refusal:
            self.store.start_upload("target", size=1)
        assert refusal.value.features == (Feature.CHUNKED,)
        return False

    def undeclared(self, name: str) -> None:
        """List something that this store does not claim."""
        self._note(UNDECLARED, name)

    def needs(self, *checks: str) -> None:
        """End the test here, visibly, if the server does not really check these."""
        lacking = [name for name in checks if not self.harness.checks(name)]
        if lacking:
            self.uncheckable(self.harness.why_not(lacking))

    def uncheckable(self, why: str) -> None:
        """End the test here; the report lists it with this reason."""
        self._note(NOT_CHECKABLE, why)
        pytest.skip(why)

    def other(self, name: str, *, clock: Callable[[], datetime] | None = None) -> Store:
        """The harness's store of this name, opened; without one the test ends here, visibly."""
        if name not in self.harness.others:
            self.uncheckable(f"not checkable on this server: the harness names no store {name!r}")
        return self.open(clock=clock, other=name)

    # --- requests ---

    def send(self, request: SignedRequest, data: bytes | None = None, *, client: Client | None = None) -> Answer:
        """Make a signed request exactly as it says."""
        return executor.send_request(client or self.client, request, data)

    def upload(self, request: SignedRequest, data: bytes, *, client: Client | None = None) -> None:
        """Make a signed upload; it must be accepted."""
        answer = self.send(request, data, client=client)
        assert answer.status in request.expected_status, f"the upload was refused: {answer.status} {answer.text}"

    def download(self, request: SignedRequest, *, client: Client | None = None) -> Answer:
        """Make a signed download; it must be accepted."""
        answer = self.send(request, client=client)
        assert answer.status in request.expected_status, f"the download was refused: {answer.status} {answer.text}"
        return answer

    def sign_upload(self, key: str, spec: UploadSpec | None = None, *, store: Store | None = None) -> SignedRequest:
        """An upload signed by the store, for ten minutes."""
        return (store or self.store).sign_upload(key, spec=spec, expires_in=timedelta(minutes=10))

    def try_sign(self, key: str, spec: UploadSpec) -> SignedRequest | UnenforceableConstraint:
        """A signed upload, or the refusal to sign one."""
        try:
            return self.sign_upload(key, spec)
        except UnenforceableConstraint as error:
            return error

    # --- what is there ---

    def nothing_at(self, key: str) -> None:
        """Assert that no object is at the key, by every way to look."""
        assert not self.store.exists(key), f"there is an object at {key!r}"
        assert [blob.key for blob in self.store.list() if blob.key == key] == []

    def holds(self, key: str, data: bytes) -> BlobInfo:
        """Assert that these bytes are at the key; returns their description."""
        info = self.store.stat(key)
        assert info.size == len(data)
        assert self.store.read(key) == data
        return info

    # --- sessions ---

    @property
    def chunk_size(self) -> int:
        """A small chunk that this store accepts, bytes."""
        limits = self.store.capabilities.limits.chunks
        return -(-max(limits.min_chunk, limits.align, 1000) // limits.align) * limits.align

    @property
    def sequential(self) -> bool:
        """Whether chunks are taken in order only."""
        return self.store.capabilities.limits.chunks.sequential

    @property
    def bearer_chunks(self) -> bool:
        """Whether chunk URLs are bearer URLs that live as long as their session."""
        return self.store.capabilities.limits.chunk_url_life is not None

    def start(
        self,
        key: str,
        *,
        size: int | None = None,
        spec: UploadSpec | None = None,
        store: Store | None = None,
        owner: str = "",
        staging: bool | None = None,
    ) -> UploadSession:
        """A chunked session with the smallest chunks."""
        return (store or self.store).start_upload(
            key,
            size=size,
            spec=spec,
            owner=owner,
            staging=staging,
            chunk_size=self.chunk_size,
            allow_session_life=self.bearer_chunks,
        )

    def body(self, chunks: float = 2.5, seed: int = 1) -> bytes:
        """Bytes for so many chunks."""
        return random_bytes(int(self.chunk_size * chunks), seed)

    def send_chunks(
        self,
        session: UploadSession,
        data: bytes,
        numbers: Iterable[int] | None = None,
        *,
        pieces: Mapping[int, bytes] | None = None,
    ) -> dict[int, Answer]:
        """Send these chunks of ``data`` (all of them), in this order, as a client would; returns the answers.

        ``pieces`` are sent instead of what ``data`` has at a chunk's place.
        """
        whole = session.chunks if session.chunks.size is not None else session.chunks.resolved(len(data))
        answers: dict[int, Answer] = {}
        for chunk in session.sign_chunks([c.number for c in whole] if numbers is None else numbers):
            piece = (pieces or {}).get(chunk.number, data[chunk.offset : chunk.offset + chunk.size])
            answers[chunk.number] = self.send_chunk(chunk, piece, len(data), last=chunk.number == len(whole))
        return answers

    def send_chunk(self, chunk: SignedChunk, piece: bytes, total: int, *, last: bool = True) -> Answer:
        """Send one chunk. The total is only said where it is known: of an unknown size, with the last."""
        return executor.send_chunk(self.client, chunk, piece, total if last or chunk.size == len(piece) else None)

    def accepted(self, answers: Mapping[int, Answer], session: UploadSession) -> None:
        """Assert that every one of these chunks was taken."""
        template = session.sign_chunks([1])[0].template if len(session.chunks) else None
        good = set() if template is None else {*template.expected_status, template.incomplete_status}
        for number, answer in answers.items():
            assert answer.status in good, f"chunk {number} was refused: {answer.status} {answer.text}"

    def put_all(self, session: UploadSession, data: bytes) -> None:
        """Send every chunk; each must be taken."""
        self.accepted(self.send_chunks(session, data), session)

    def uploaded(self, key: str, data: bytes, *, spec: UploadSpec | None = None) -> UploadSession:
        """A session whose chunks are all there; ``complete()`` remains to be called."""
        session = self.start(key, size=len(data), spec=spec)
        self.put_all(session, data)
        return session
