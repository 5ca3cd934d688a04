"""Settings: file over defaults, environment over file, arguments over both; every mistake told at once, by name."""

import re
from pathlib import Path

import pytest

from evento.errors import SettingsError
from evento.settings import Settings, read_kafka_properties, read_settings, read_source_date, read_url


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing() -> None:
    assert read_settings({}) == Settings()


def test_arguments_go_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "evento.toml").write_text('port = 1\nhost = "h"\nwait_s = 3\n')
    settings = read_settings({"EVENTO_PORT": "2", "EVENTO_HOST": "e"}, port=3, host=None)
    assert (settings.port, settings.host, settings.wait_s, settings.log_level) == (3, "e", 3.0, "info")


def test_a_verb_has_defaults_of_its_own_below_everything_else(tmp_path: Path) -> None:
    (tmp_path / "evento.toml").write_text("port = 1\n")
    settings = read_settings({}, defaults={"port": 5, "host": "h"})
    assert (settings.port, settings.host) == (1, "h")


def test_the_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('log_format = "json"\n')
    assert read_settings({"EVENTO_CONFIG": str(tmp_path / "other.toml")}).log_format == "json"
    with pytest.raises(SettingsError, match=r"nothing\.toml"):
        read_settings({"EVENTO_CONFIG": "nothing.toml"})


def test_every_mistake_is_told_with_its_name_and_value(tmp_path: Path) -> None:
    (tmp_path / "evento.toml").write_text('ports = 1\ninbox_commands = "many"\n')
    with pytest.raises(SettingsError) as error:
        read_settings({"EVENTO_PORT": "99999", "EVENTO_LOG_LEVEL": "loud", "EVENTO_SPEED": "9"})
    for name in ("ports", "inbox_commands", "EVENTO_PORT", "EVENTO_LOG_LEVEL", "EVENTO_SPEED"):
        assert any(name in problem["setting"] for problem in error.value.details["problems"])
    assert "'99999'" in str(error.value)


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    assert "hush" not in repr(read_settings({"EVENTO_CLUSTER_SECRET": "hush hush hush hush"}))
    (tmp_path / "evento.toml").write_text('clustersecret = "hush hush hush hush"\n')
    with pytest.raises(SettingsError, match="16 characters") as error:
        read_settings({"EVENTO_CLUSTER_SECRET": "hush"})
    assert "hush" not in str(error.value) and "hush" not in str(error.value.details)


def test_the_url_of_the_server_is_for_clients_only() -> None:
    assert read_url({}) == "http://127.0.0.1:7070"
    assert read_url({"EVENTO_URL": "http://e"}) == "http://e"
    assert read_settings({"EVENTO_URL": "http://e"}) == Settings()


def test_properties_of_kafkas_client_are_no_settings() -> None:
    environ = {"EVENTO_KAFKA_SASL_PASSWORD": "hush", "EVENTO_KAFKA_SSL_CA_LOCATION": "/ca.pem", "EVENTO_KAFKA_CONFIG": "k"}
    assert read_kafka_properties({**environ, "EVENTO_PORT": "1"}) == {"sasl.password": "hush", "ssl.ca.location": "/ca.pem"}
    assert read_settings(environ) == Settings(kafka_config="k")
    assert read_settings({"EVENTO_KAFKA_SESSION_S": "6"}) == Settings(kafka_session_s=6.0)


def test_a_property_in_the_wrong_file_is_refused_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "evento.toml").write_text('kafka_sasl_password = "hush"\n')
    with pytest.raises(SettingsError, match=r"kafka_sasl_password.*kafka_config") as error:
        read_settings({})
    assert "hush" not in str(error.value) + repr(error.value.details)


def test_the_page_on_settings_has_each_with_its_default() -> None:
    page = (Path(__file__).parent.parent / "docs/reference/settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]+)`|none) \|", page, re.MULTILINE))
    defaults = Settings()
    assert rows == {name: str(getattr(defaults, name)) or "none" for name in Settings.__struct_fields__}


def test_the_time_of_an_image_is_what_the_environment_says_or_always_the_same() -> None:
    assert read_source_date({}) == read_source_date({"SOURCE_DATE_EPOCH": ""}) == 315_532_800
    assert read_source_date({"SOURCE_DATE_EPOCH": "7"}) == 7
    for wrong in ("-1", "now", "1.5", "9" * 30):
        with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH must be seconds since 1970"):
            read_source_date({"SOURCE_DATE_EPOCH": wrong})
