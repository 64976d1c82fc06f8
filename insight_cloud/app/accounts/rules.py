"""What an e-mail address, a name and a password may be: pure rules, the same for web and CLI.

Every function returns the text in the form that is stored, or raises `Invalid` with a pointer
to the field.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NoReturn

from insight_cloud.core.errors import Invalid

__all__ = [
    "EMAIL_LIMIT",
    "NAME_LIMIT",
    "PASSWORD_LIMITS",
    "SLUG_PATTERN",
    "email",
    "name",
    "normalised",
    "password",
    "plain",
]

EMAIL_LIMIT = 254
NAME_LIMIT = 100
PASSWORD_LIMITS = (10, 200)

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
"""A project's name in addresses and commands; for `fullmatch`."""

# The shape that browsers accept in <input type=email> (HTML, "valid e-mail address"): ASCII
# only, so lower case means the same to us and to every database.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*", re.ASCII)

# Letters that turn the direction of the text around them: a name must not dress up its line.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_PRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})

# The commonest of the leaked passwords that are long enough for us to accept them otherwise.
_COMMON = frozenset(
    """
    0123456789 0987654321 1029384756 1111111111 1122334455 1212121212 1234567890 1234567891
    12345678900 12345678901 12345678910 123456789a 123456789q 1234567890a 1234567890q
    123qweasdzxc 123456qwerty 12qwaszx12 147258369a 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc
    1qazxsw23edc 3rjs1la7qe 9876543210 abc1234567 abcd123456 abcdefghij administrator adminadmin
    admin12345 admin123456 alexander1 asdfasdfasdf asdfghjkl1 asdfghjkl123 asdfghjkl; basketball
    basketball1 babygirl123 blink182blink caonima123 charlie123 changeme123 changemenow
    chocolate1 christopher computer123 correcthorsebatterystaple dragon12345 elizabeth1
    football12 football123 g_czechout hello12345 helloworld iloveyou12 iloveyou123
    iloveyou12345 iloveyou2 insightcloud insight-cloud internet123 jennifer123 john316316
    letmein123 letmein1234 liverpool1 liverpool123 loveyou123 manchester manchester1 master12345
    michael123 michelle123 monkey12345 mynoob1234 newpassword p@ssw0rd12 p@ssw0rd123
    p@ssword123 pa55word123 passpasspass passw0rd12 passw0rd123 passw0rd1234 password00
    password01 password10 password11 password12 password123 password123! password1234
    password12345 password123456 password2020 password2021 password2022 password2023
    password2024 password2025 password2026 password99 passwordpassword pokemon1234 princess12
    princess123 q1w2e3r4t5 q1w2e3r4t5y6 qazwsxedc1 qazwsxedc123 qazwsxedcrfv qwer123456
    qwerasdfzxcv qwertyqwerty qwerty1234 qwerty12345 qwerty123456 qwerty1234567 qwertyuiop
    qwertyuiop1 qwertyuiop123 qwertyuiop[] rockstar123 samantha123 secret1234 secretpassword
    september1 spiderman1 starwars123 summer2023 summer2024 summer2025 summer2026 sunshine12
    sunshine123 superman12 superman123 temporary1 test123456 testpassword testtest123
    trustno1trustno1 unknown123 victoria123 volleyball welcome123 welcome1234 welcome12345
    welcome2024 welcome2025 welcome2026 whatever123 winter2024 winter2025 winter2026 woaini1314
    yourpassword zaq12wsxcde3 zxcvbnm123 zxcvbnm1234 zxcvbnm12345 zxcvbnm,./
    """.split()  # noqa: SIM905 - a word list is read best as words
)


def email(text: str) -> str:
    """Return the address without surrounding space, as it was typed otherwise.

    Addresses are compared in lower case (`lower(email)` is unique in the database).
    """
    text = text.strip()
    if len(text) > EMAIL_LIMIT:
        _refuse("email", f"longer than {EMAIL_LIMIT} characters")
    if _EMAIL.fullmatch(text) is None:
        _refuse("email", "not an e-mail address, as in someone@example.com")
    return text


def name(text: str, *, field: str = "name") -> str:
    """Return a person's or a thing's name without surrounding space.

    Text is data: quotes and angle brackets are kept as they are, whoever shows a name escapes
    it. What cannot be shown on one line is refused.
    """
    text = text.strip()
    if not 1 <= len(text) <= NAME_LIMIT:
        _refuse(field, f"must have 1 to {NAME_LIMIT} characters")
    if not plain(text):
        _refuse(field, "has control characters")
    return text


def password(text: str, *, email: str, name: str) -> str:
    """Return the password in the one form (NFKC) that is hashed, if it may be used at all.

    Length counts and nothing else does (NIST SP 800-63B): no rules about digits or capitals,
    but neither what everybody uses nor what stands beside it in the form.
    """
    text = normalised(text)
    least, most = PASSWORD_LIMITS
    if not least <= len(text) <= most:
        _refuse("password", f"must have {least} to {most} characters")
    if not plain(text):
        _refuse("password", "has control characters")
    folded = text.casefold().strip()
    if folded in {email.casefold(), email.casefold().partition("@")[0], name.casefold()}:
        _refuse("password", "is your e-mail address or your name; take another one")
    if folded in _COMMON or len(set(folded)) <= 2:
        _refuse("password", "is one of the commonest passwords; take another one")
    return text


def normalised(text: str) -> str:
    """Return `text` as it is hashed: what looks the same on two keyboards is the same."""
    return unicodedata.normalize("NFKC", text)


def plain(text: str) -> bool:
    """Whether `text` has neither control characters nor any that turn the direction of text."""
    return not any(
        letter in _TURNING or unicodedata.category(letter) in _NOT_PRINTED for letter in text
    )


def _refuse(field: str, detail: str) -> NoReturn:
    raise Invalid(f"{field}: {detail}", problems=((f"/body/{field}", detail),))
