"""The strict server, its SDK client, and requests that a client without the SDK makes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from google.cloud import storage
from google.oauth2 import service_account

from blobkit_gcs.testing import Checks, StrictGcs

BUCKET: Final = "media"
TRUST: Final = ssl.create_default_context()  # reading the certificates takes longer than most tests
EXPIRES: Final = timedelta(minutes=5)


class Strict:
    """One server with a bucket, google-cloud-storage talking to it, and plain HTTP."""

    def __init__(self, server: StrictGcs) -> None:
        self.server = server
        self.credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            server.service_account.info, scopes=["https://www.googleapis.com/auth/devstorage.read_write"]
        )
        self.client: Any = storage.Client(
            credentials=self.credentials, project="strict-project", client_options={"api_endpoint": server.endpoint}
        )
        self.bucket: Any = self.client.bucket(BUCKET)
        self.http = httpx.Client(timeout=20, verify=TRUST)

    def url(
        self,
        method: str,
        key: str = "a/b ü.txt",
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        expires: timedelta = EXPIRES,
    ) -> str:
        """A V4 URL as google-cloud-storage signs it."""
        signed: str = self.bucket.blob(key).generate_signed_url(
            version="v4",
            method=method,
            expiration=expires,
            headers=dict(headers or {}),
            query_parameters=dict(query or {}),
            credentials=self.credentials,
            api_access_endpoint=self.server.endpoint,
        )
        return signed

    def form(self, key: str = "form.txt", **policy: Any) -> dict[str, Any]:
        """A POST policy as google-cloud-storage signs it: ``url`` and ``fields``."""
        made: dict[str, Any] = self.client.generate_signed_post_policy_v4(
            BUCKET, key, expiration=datetime.now(UTC) + EXPIRES, credentials=self.credentials, **policy
        )
        made["url"] = f"{self.server.endpoint}/{BUCKET}/"
        return made

    def send_form(self, made: Mapping[str, Any], data: bytes, **more: str) -> httpx.Response:
        """As a browser sends it."""
        return self.http.post(made["url"], data={**made["fields"], **more}, files={"file": ("f", data, "text/plain")})

    def session(self, key: str = "big.bin", headers: Mapping[str, str] | None = None, **query: str) -> str:
        """A JSON session's URI."""
        answer = self.http.post(
            f"{self.server.endpoint}/upload/storage/v1/b/{BUCKET}/o",
            params={"uploadType": "resumable", "name": key, **query},
            headers={"authorization": f"Bearer {self.server.identity.issue()}", **(headers or {})},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["location"]

    def multipart(self, key: str = "mp.bin") -> str:
        """An XML upload's id."""
        answer = self.http.post(self.url("POST", key, query={"uploads": ""}))
        assert answer.status_code == 200, answer.text
        return answer.text.partition("<UploadId>")[2].partition("<")[0]

    def part(self, upload_id: str, number: int, data: bytes, key: str = "mp.bin", **headers: str) -> httpx.Response:
        """Send one part."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self.http.put(self.url("PUT", key, query=query, headers=headers), content=data, headers=headers)

    def complete(self, upload_id: str, parts: list[tuple[int, str]], key: str = "mp.bin") -> httpx.Response:
        """Put the parts together."""
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
        return self.http.post(self.url("POST", key, query={"uploadId": upload_id}), content=body)


@contextmanager
def strict(*, without: tuple[str, ...] = (), **bucket: Any) -> Iterator[Strict]:
    """A running server with the bucket ``media``."""
    with StrictGcs(checks=Checks.without(*without)) as server:
        server.create_bucket(BUCKET, **bucket)
        made = Strict(server)
        try:
            yield made
        finally:
            made.http.close()
            made.client.close()
