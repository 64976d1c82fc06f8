"""One certificate for the receivers of a run, and a check that no secret is ever said."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator

import pytest

from tests.notify.receivers import certificate

SECRETS = ("s3cr3t", "t0k3n", "pa55word", "services/T0")


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side and the client's."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _no_secret_in_a_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does, no logger of anybody's says a secret at any level."""
    caplog.set_level(logging.DEBUG)
    yield
    for when in ("setup", "call"):
        for record in caplog.get_records(when):
            said = record.getMessage() + repr(record.__dict__)
            assert not any(secret in said for secret in SECRETS), record
