"""The only reader of the environment: settings from defaults, over them a TOML file, over it `EVENTO_*` variables.

A setting `log_level` is `log_level` in the file and `EVENTO_LOG_LEVEL` in the environment. All wrong settings are reported at once,
each by the name under which it was given. What a setting is used for is the business of whoever is given it.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct

from evento.errors import SettingsError

CONFIG_FILE = "evento.toml"
URL_DEFAULT = "http://127.0.0.1:7070"
SOURCE_DATE_DEFAULT_S = 315_532_800  # 1980-01-01: archives of wheels know no time before
_SOURCE_DATE = "SOURCE_DATE_EPOCH"
_SOURCE_DATE_S_MAX = 2**40
_PREFIX = "EVENTO_"

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
Secret = Annotated[str, Meta(pattern="^(.{16,})?$")]
_RULES = {"cluster_secret": "must have 16 characters or more"}
_HIDDEN = frozenset(("cluster_secret", "schema_registry"))
Journal = Annotated[str, Meta(pattern=r"^(sqlite$|kafka://)")]
EngineUrl = Annotated[str, Meta(pattern=r"^(auto|unix:///.+)$", max_length=200)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set about a running platform. Units are in the names; `docs/reference/settings.md` explains each."""

    data: str = "data"
    journal: Journal = "sqlite"
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 7070
    schema_registry: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    inbox_commands: Positive = 10_000
    batch_commands: Positive = 500
    wait_s: Seconds = 10.0
    wait_max_s: Seconds = 60.0
    shutdown_s: Seconds = 10.0
    kafka_config: str = ""
    kafka_session_s: Annotated[float, Meta(ge=2, le=120)] = 15.0
    advertise: str = ""
    cluster_secret: Secret = ""
    signing_key: str = ""
    function_addresses: str = "public private"
    function_ca: str = ""
    container_engine: EngineUrl = "auto"
    registry_auth: str = ""

    def __repr__(self) -> str:
        """Return what can be shown."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _HIDDEN}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def shared(self) -> bool:
        """Tell whether several nodes may share the journal."""
        return self.journal != "sqlite"

    @property
    def address(self) -> str:
        """Return the URL at which other nodes reach this one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.advertise.rstrip("/") or f"http://{host}:{self.port}"

    @property
    def data_dir(self) -> Path:
        """Return the data folder as a path."""
        return Path(self.data)


def read_settings(environ: Mapping[str, str] | None = None, *, defaults: Mapping[str, Any] | None = None, **given: Any) -> Settings:
    """Return the settings: `given` (those that are not None) over the environment over the file over the `defaults`.

    The file is what `EVENTO_CONFIG` names, else `evento.toml` in the working directory if there is one.
    Raises SettingsError that names every wrong or unknown setting.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, tuple[str, Any]] = {name: (name, value) for name, value in (defaults or {}).items()}
    values.update(_from_file(environ))
    values.update(_from_environ(environ))
    values.update({name: (name, value) for name, value in given.items() if value is not None})
    return _checked(values)


def read_environment() -> Mapping[str, str]:
    """Return the whole environment, for those who pass a part of it on to processes."""
    return dict(os.environ)


def read_source_date(environ: Mapping[str, str] | None = None) -> int:
    """Return the time that everything in an image shall have, in seconds since 1970: `SOURCE_DATE_EPOCH`, or the default.

    Raises SettingsError.
    """
    value = (os.environ if environ is None else environ).get(_SOURCE_DATE) or str(SOURCE_DATE_DEFAULT_S)
    if not (value.isascii() and value.isdigit() and int(value) <= _SOURCE_DATE_S_MAX):
        raise SettingsError(f"{_SOURCE_DATE} must be seconds since 1970", setting=_SOURCE_DATE, value=value)
    return int(value)


def read_url(environ: Mapping[str, str] | None = None) -> str:
    """Return the address of the server that clients speak to: `EVENTO_URL`, or the default."""
    return (os.environ if environ is None else environ).get("EVENTO_URL") or URL_DEFAULT


def read_kafka_properties(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the properties of Kafka's client that stand in the environment: `EVENTO_KAFKA_SASL_PASSWORD` is `sasl.password`.

    Which of them may be set, and to what, knows `evento.journal.kafka.security`. Some are secrets.
    """
    environ = os.environ if environ is None else environ
    found = {name.removeprefix(_PREFIX).lower(): value for name, value in environ.items() if name.startswith(_PREFIX)}
    return {name.removeprefix("kafka_").replace("_", "."): value for name, value in found.items() if _is_property(name)}


def _from_file(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    named = environ.get("EVENTO_CONFIG")
    path = Path(named or CONFIG_FILE)
    if not named and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}", setting="EVENTO_CONFIG", value=str(path)) from error
    return {name: (f"{name} (in {path})", value) for name, value in content.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    names = (name for name in environ if name.startswith(_PREFIX))
    values = {name.removeprefix(_PREFIX).lower(): (name, environ[name]) for name in names}
    return {name: value for name, value in values.items() if name not in ("config", "url") and not _is_property(name)}


def _is_property(name: str) -> bool:
    """Tell whether a name in the environment is of a property of Kafka's client, `read_kafka_properties`."""
    return name.startswith("kafka_") and name not in Settings.__struct_fields__


def _checked(values: Mapping[str, tuple[str, Any]]) -> Settings:
    types = get_type_hints(Settings, include_extras=True)
    checked: dict[str, Any] = {}
    problems = []
    for name, (label, value) in values.items():
        if _is_property(name):  # in the file; its value may be a secret
            rule = "properties of Kafka's client stand in the file that `kafka_config` names, or in the environment"
            problems.append({"setting": label, "rule": rule, "value": "…"})
            continue
        if name not in types:
            problems.append({"setting": label, "rule": "there is no such setting", "value": _shown(name, value)})
            continue
        try:
            checked[name] = msgspec.convert(value, types[name], strict=not isinstance(value, str) or types[name] is str)
        except msgspec.ValidationError as error:
            problems.append({"setting": label, "rule": _RULES.get(name, str(error)), "value": _shown(name, value)})
    if problems:
        message = "; ".join(f"{problem['setting']}: {problem['rule']} (it is {problem['value']!r})" for problem in problems)
        raise SettingsError(message, problems=problems)
    return Settings(**checked)


def _shown(name: str, value: Any) -> str:
    """Return a value as a message may have it; one whose name is only nearly a secret's is hidden too."""
    return "***" if name in _HIDDEN or "secret" in name or "password" in name else str(value)
