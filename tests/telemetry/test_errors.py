from __future__ import annotations

import logging

from insight_cloud.telemetry import LastErrors, request_id


def test_the_last_errors_are_kept_with_their_request_and_without_secrets() -> None:
    kept = LastErrors(keep=2)
    log = logging.getLogger("shop")
    log.addHandler(kept)
    token = request_id.set("a-request")
    try:
        log.warning("not an error")
        log.error("the first is forgotten")
        log.error("cannot connect to postgresql://shop:geheim@db/shop")
        log.error("page.failed", exc_info=ValueError("seven"))
    finally:
        request_id.reset(token)
        log.removeHandler(kept)
    newest, older = kept.errors()
    assert newest.text == "page.failed: ValueError: seven"
    assert (newest.logger, newest.request_id) == ("shop", "a-request")
    assert "geheim" not in older.text
    assert "cannot connect" in older.text
