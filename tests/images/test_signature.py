from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import Refused, SettingsError
from insight_cloud.images import Signer

URL = "https://cats.example/a.jpg"


def test_a_signature_counts_for_its_source_and_time_only() -> None:
    signer = Signer(["k" * 32])
    signature = signer.sign(URL, 1000)
    assert len(signature) == 43
    signer.check(URL, signature, 1000, now=1000)
    with pytest.raises(Refused, match="expired"):
        signer.check(URL, signature, 1000, now=1001)
    for url, expires in ((URL + "?", 1000), (URL, 2000), (URL, 0)):
        with pytest.raises(Refused, match="not right"):
            signer.check(url, signature, expires, now=1)


def test_a_key_can_be_replaced() -> None:
    before, after = Signer(["old-key-old-key-old"]), Signer(["new-key-new-key", "x" * 16][1:])
    both = Signer(["x" * 16, "old-key-old-key-old"])
    both.check(URL, before.sign(URL), 0, now=1)
    after.check(URL, both.sign(URL), 0, now=1)
    with pytest.raises(Refused):
        after.check(URL, before.sign(URL), 0, now=1)


@given(some.text(max_size=60))
def test_no_guess_counts(guess: str) -> None:
    with pytest.raises(Refused):
        Signer(["k" * 32]).check(URL, guess, 0, now=1)


@pytest.mark.parametrize("keys", [[], [""], ["short"], ["k" * 32, "short"]])
def test_short_keys_are_refused(keys: list[str]) -> None:
    with pytest.raises(SettingsError) as refusal:
        Signer(keys)
    assert "short" not in str(refusal.value)
