"""The URL of a store and Azure's connection string: read without any I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Invalid, SettingsError
from insight_cloud.core.storage import Address, azure, clean_path, parse


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///var/backups", Address("file", "/var/backups")),
        ("file:///with%20space/", Address("file", "/with space")),
        ("s3://bucket", Address("s3", "bucket")),
        ("s3://bucket/", Address("s3", "bucket")),
        ("s3://bucket/some/folder/", Address("s3", "bucket", "some/folder")),
        ("az://container/a", Address("az", "container", "a")),
        ("gs://bucket/a%20b", Address("gs", "bucket", "a b")),
        (
            "s3://bucket/x?endpoint=https://id.r2.cloudflarestorage.com&region=auto",
            Address(
                "s3",
                "bucket",
                "x",
                {"endpoint": "https://id.r2.cloudflarestorage.com", "region": "auto"},
            ),
        ),
    ],
)
def test_an_address_is_read(url: str, expected: Address) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with none of"),
        ("/var/backups", "begins with none of"),
        ("ftp://host/x", "begins with none of"),
        ("file://relative/x", "absolute"),
        ("file:relative", "absolute"),
        ("file:///x?a=b", "without a query"),
        ("s3:///folder", "names no bucket"),
        ("s3://id:hidden@bucket", "holds credentials"),
        ("s3://bucket/../other", "prefix"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket#x", "'#'"),
        ("s3://bucket?storage=cheap", "unknown option 'storage'"),
        ("s3://bucket?endpoint", "not name=value"),
        ("s3://bucket?endpoint=host:9000", "endpoint"),
        ("s3://bucket?endpoint=https://id:hidden@host", "endpoint"),
        ("az://box?region=x", "unknown option 'region'"),
    ],
)
def test_a_wrong_address_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        parse(url)
    assert "hidden" not in str(caught.value)


def test_an_address_is_shown_without_its_options() -> None:
    assert str(parse("s3://bucket/a/b?region=auto")) == "s3://bucket/a/b"


@given(st.text())
def test_a_clean_path_stays_inside(path: str) -> None:
    try:
        clean = clean_path(path)
    except Invalid:
        return
    assert clean == path
    assert ".." not in clean.split("/")
    assert not clean.startswith("/")


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    for read in (parse, azure.parse):
        with pytest.raises(SettingsError):
            read(f"x{text}" if read is parse else f"x{text.replace('=', '')}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            (
                "DefaultEndpointsProtocol=https;AccountName=ours;AccountKey=a2V5;"
                "EndpointSuffix=core.windows.net"
            ),
            azure.Account("ours", "https://ours.blob.core.windows.net", "a2V5"),
        ),
        (
            "BlobEndpoint=https://ours.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=x%3D",
            azure.Account("ours", "https://ours.blob.core.windows.net", "", "sv=1&sig=x%3D"),
        ),
        (
            "AccountName=ours;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn",
            azure.Account("ours", "https://ours.blob.core.chinacloudapi.cn", "a2V5"),
        ),
    ],
)
def test_a_connection_string_is_read(text: str, expected: azure.Account) -> None:
    assert azure.parse(text) == expected
    assert "a2V5" not in repr(azure.parse(text))


def test_the_emulator_has_a_connection_string_of_its_own() -> None:
    account = azure.parse("UseDevelopmentStorage=true")
    assert account.endpoint == "http://127.0.0.1:10000/devstoreaccount1"
