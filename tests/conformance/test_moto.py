"""The wiring of S3 against moto: what the service itself calls. moto verifies nothing, so nothing here is about signatures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.moto import moto
from tests.servers.processes import ENVIRONMENT, free_port

from blobkit.testing import Harness
from blobkit.testing.suite import (
    test_downloads,
    test_objects,
    test_session_completion,
    test_session_tokens,
    test_sessions,
)

_NOT_BY_MOTO = {
    "test_write_refuses_data_that_break_the_spec_before_anything_is_sent": "it compares no checksum",
    "test_sessions_left_behind_are_listed_and_swept": "every upload of it was started in 2010",
}
for _module in (test_downloads, test_objects, test_sessions, test_session_completion, test_session_tokens):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_"):
            _why = _NOT_BY_MOTO.get(_name)
            globals()[_name] = pytest.mark.skip(reason=f"not checkable on moto: {_why}")(_test) if _why else _test
del test_downloads, test_objects, test_sessions, test_session_completion, test_session_tokens


@pytest.fixture(scope="module", params=["versioned"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with pytest.MonkeyPatch.context() as patch, moto(tmp_path_factory.mktemp("moto")) as endpoint:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        versioning = "on" if request.param == "versioned" else "off"
        options = f"?profile=localstack&endpoint={endpoint}&versioning={versioning}"
        harness = Harness(
            f"s3://{request.param}/{options}",
            enforces=frozenset({"unsatisfiable_range", "uncovers"}),
            others={
                "missing_bucket": f"s3://not-there/{options}",
                "unreachable": f"s3://media/?profile=localstack&endpoint=http://127.0.0.1:{free_port()}",
            },
            name=f"moto-{request.param}",
        )
        yield harness
        harness.stop()
