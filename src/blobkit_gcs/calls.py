"""What is used of the SDK, typed as far as it can be: neither it nor requests has types of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

__all__ = ["Answer", "Http", "Reply", "SdkBlob", "SdkBucket", "SdkClient"]

# google-cloud-storage has no types; what a checker infers from its defaults (a timeout is an int) is wrong.
SdkBlob: TypeAlias = Any
SdkBucket: TypeAlias = Any
SdkClient: TypeAlias = Any


class Answer(Protocol):
    """One answer, read whole."""

    @property
    def status_code(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...

    @property
    def text(self) -> str:
        """The body as text."""
        ...


class Reply(Answer, Protocol):
    """An answer that may be JSON."""

    def json(self) -> Any:  # noqa: ANN401 - whatever the service says
        """The body, decoded. Raises ValueError."""
        ...


class Http(Protocol):
    """Sends requests with the service's own login."""

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = True,
    ) -> Answer:
        """One request."""
        ...
