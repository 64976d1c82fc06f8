"""Settings: what wins, what is refused, and that no secret is repeated."""

from pathlib import Path

import pytest

from insight_cloud import settings
from insight_cloud.core.errors import SettingsError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(**environment: str) -> settings.Settings:
    return settings.load(environment=environment)


def test_without_anything_the_defaults_hold() -> None:
    assert load() == settings.Settings()


def test_the_file_beats_the_defaults_and_the_environment_beats_the_file(
    empty_folder: Path,
) -> None:
    (empty_folder / "insight.toml").write_text("[server]\nport = 1\nhost = '::1'\nworkers = 2\n")
    found = settings.load(
        environment={"INSIGHT_SERVER__PORT": "3", "INSIGHT_SERVER__HOST": "0.0.0.0"},
        overrides={"server": {"port": 4}},
    ).server
    assert (found.workers, found.host, found.port) == (2, "0.0.0.0", 4)


@pytest.mark.parametrize("name", settings.WELL_KNOWN)
def test_every_well_known_name_sets_its_field(name: str) -> None:
    section, field = settings.WELL_KNOWN[name]
    given = "0123456789abcdef" * 2  # what identifiers of Cloudflare look like; any text elsewhere
    value = getattr(getattr(load(**{name: given}), section), field)
    assert str(getattr(value, "get_secret_value", lambda: value)()) == given


def test_our_own_name_beats_the_well_known_one() -> None:
    found = load(DATABASE_URL="postgresql://a", INSIGHT_DATABASE__URL="postgresql://b").database
    assert found.url is not None
    assert found.url.get_secret_value() == "postgresql://b"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("INSIGHT_SERVER__PROT", "INSIGHT_SERVER__PORT"),
        ("INSIGHT_SEVER__PORT", "INSIGHT_SERVER__PORT"),
        ("INSIGHT_PORT", ""),
    ],
)
def test_an_unknown_name_in_the_environment_is_refused(name: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=name) as refusal:
        load(**{name: "1"})
    assert meant in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sever]\nport = 1", "sever (did you mean server?)"),
        ("[server]\nprot = 1", "server.prot (did you mean server.port?)"),
        ("port = 1", "'port' stands outside"),
        ("[server\n", "insight.toml"),
        ("[server]\nport = 'many'", "server.port"),
        ("[server]\nport = 70000", "server.port"),
    ],
)
def test_a_wrong_file_is_refused_by_name(empty_folder: Path, text: str, named: str) -> None:
    (empty_folder / "insight.toml").write_text(text)
    with pytest.raises(SettingsError) as refusal:
        load()
    assert named in str(refusal.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        settings.load(tmp_path / "nowhere.toml", environment={})
    with pytest.raises(SettingsError, match="nowhere"):
        load(INSIGHT_CONFIG="nowhere.toml")


def test_no_secret_is_repeated() -> None:
    found = load(DATABASE_URL="postgresql://u:hunter2@db/x", SENTRY_DSN="hunter2")
    assert "hunter2" not in repr(found) + str(found) + found.model_dump_json()
    with pytest.raises(SettingsError) as refusal:
        settings.load(environment={}, overrides={"client": {"token": ["hunter2"]}})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"public_url": "https://insight.example/"}, "https://insight.example"),
    ],
)
def test_the_url_is_where_people_reach_the_service(server: dict[str, object], url: str) -> None:
    assert settings.load(environment={}, overrides={"server": server}).server.url == url


def test_every_field_is_described() -> None:
    for section, model in settings.sections():
        for name, field in model.model_fields.items():
            assert field.description, f"{section}.{name} has no description"


def test_other_peoples_programs_get_an_environment_without_ours() -> None:
    given = {"PATH": "/bin", "HOME": "/root", "INSIGHT_EDGE__API_TOKEN": "a", "DATABASE_URL": "b"}
    assert settings.foreign_environment(given) == {"PATH": "/bin", "HOME": "/root"}
