from __future__ import annotations

import pytest
from pydantic import ValidationError

from insight_cloud.settings import load
from insight_cloud.tls import TlsSettings


def test_names_are_brought_into_the_form_of_certificates() -> None:
    found = TlsSettings(
        names=("WWW.A.example.", "bücher.example", "*.a.example", "[::1]", "10.0.0.1")
    )
    assert found.names == (
        "www.a.example", "xn--bcher-kva.example", "*.a.example", "::1", "10.0.0.1",
    )  # fmt: skip
    assert TlsSettings(names=("a.example", "A.example")).names == ("a.example",)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "-a.example",
        "https://a.example",
        "a..example",
        "*",
        "x" * 64 + ".example",
        "a.*.example",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no host name"):
        TlsSettings(names=(name,))


def test_commands_are_split_and_not_given_to_a_shell() -> None:
    found = TlsSettings.model_validate({"hooks": ["nginx -s reload", ["touch", "a b; c"]]})
    assert found.hooks == (("nginx", "-s", "reload"), ("touch", "a b; c"))
    with pytest.raises(ValidationError):
        TlsSettings.model_validate({"hooks": [""]})
    with pytest.raises(ValidationError):
        TlsSettings.model_validate({"hooks": "nginx"})


def test_the_environment_can_say_all_of_it() -> None:
    found = load(
        environment={
            "INSIGHT_TLS__NAMES": "a.example, b.example",
            "INSIGHT_TLS__HOOKS": "nginx -s reload",
            "INSIGHT_TLS__CLOUDFLARE_TOKEN": "secret",
        }
    ).tls
    assert found.names == ("a.example", "b.example")
    assert found.hooks == (("nginx", "-s", "reload"),)
    assert "secret" not in repr(found)
