from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.accounts import rules
from insight_cloud.core.errors import Invalid

WRONG_ADDRESSES = [
    "",
    "ada",
    "@example.com",
    "ada@",
    "ada@@example.com",
    "ada@-example.com",
    "ada@example..com",
    "ada lovelace@example.com",
    "ada@example.com\nbcc: eve@example.com",
    "ada@example.com\x00",
    "<ada@example.com>",
    "ada@exämple.com",
    "x' or '1'='1",
    "a" * 65 + "@example.com",
    "ada@" + "x." * 200 + "com",
    "a" * 10_000,
]


@pytest.mark.parametrize("address", ["ada@example.com", "o'hara+x@a.b-c.example", "root@localhost"])
def test_an_address_that_a_browser_accepts_is_accepted(address: str) -> None:
    assert rules.email(f"  {address}\n") == address


@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_what_is_no_address_is_refused_at_its_field(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.email(address)
    assert refused.value.problems[0][0] == "/body/email"


@given(st.text())
def test_an_accepted_address_is_short_and_has_one_lower_case(text: str) -> None:
    try:
        address = rules.email(text)
    except Invalid:
        return
    assert len(address) <= 254
    assert address.isascii()
    assert len(address.lower()) == len(address)


@pytest.mark.parametrize("name", ["Ada", "O'Hara", "李小龍", "<b>Ada</b>", "x'); drop table y"])
def test_a_name_is_kept_as_it_is(name: str) -> None:
    assert rules.name(f" {name} ") == name


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "a\x00b", "a\nb", "a\x1b[31mb", "\u202eada"])
def test_a_name_that_fits_on_no_line_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        rules.name(name)


@given(st.text())
def test_an_accepted_name_can_be_stored(text: str) -> None:
    try:
        name = rules.name(text)
    except Invalid:
        return
    assert 1 <= len(name) <= 100
    assert "\x00" not in name
    assert name.encode()


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "a" * 201,
        "password123",
        "PassWord1234",
        "aaaaaaaaaaaa",
        "abababababab",
        "ada.lovelace@example.com",
        "ADA.LOVELACE",
        "ada lovelace",
        "with a \x00 in it",
    ],
)
def test_a_password_that_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.password(password, email="Ada.Lovelace@example.com", name="Ada Lovelace")
    assert refused.value.problems[0][0] == "/body/password"
    assert password not in str(refused.value)


def test_length_is_all_that_a_password_needs() -> None:
    text = "correct horse battery"
    assert rules.password(text, email="ada@example.com", name="Ada") == text


def test_a_password_is_the_same_on_every_keyboard() -> None:
    composed, separate = "\u00e9" * 5 + "abcdef", "e\u0301" * 5 + "abcdef"
    assert rules.normalised(composed) == rules.normalised(separate)
    assert rules.password(separate, email="a@b.c", name="A") == composed
