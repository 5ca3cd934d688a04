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
_PREFIX = "EVENTO_"

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
EngineUrl = Annotated[str, Meta(pattern=r"^(auto|unix:///.+)$", max_length=200)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set about a running platform. Units are in the names; `docs/reference/settings.md` explains each."""

    data: str = "data"
    journal: Literal["sqlite"] = "sqlite"
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 7070
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    inbox_commands: Positive = 10_000
    batch_commands: Positive = 500
    wait_s: Seconds = 10.0
    wait_max_s: Seconds = 60.0
    shutdown_s: Seconds = 10.0
    container_engine: EngineUrl = "auto"

    @property
    def data_dir(self) -> Path:
        """Return the data folder as a path."""
        return Path(self.data)


def read_settings(environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Return the settings: `given` (those that are not None) over the environment over the file over the defaults.

    The file is what `EVENTO_CONFIG` names, else `evento.toml` in the working directory if there is one.
    Raises SettingsError that names every wrong or unknown setting.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, tuple[str, Any]] = {}
    values.update(_from_file(environ))
    values.update(_from_environ(environ))
    values.update({name: (name, value) for name, value in given.items() if value is not None})
    return _checked(values)


def read_environment() -> Mapping[str, str]:
    """Return the whole environment, for those who pass a part of it on to processes."""
    return dict(os.environ)


def read_url(environ: Mapping[str, str] | None = None) -> str:
    """Return the address of the server that clients speak to: `EVENTO_URL`, or the default."""
    return (os.environ if environ is None else environ).get("EVENTO_URL") or URL_DEFAULT


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
    return {name: value for name, value in values.items() if name not in ("config", "url")}


def _checked(values: Mapping[str, tuple[str, Any]]) -> Settings:
    types = get_type_hints(Settings, include_extras=True)
    checked: dict[str, Any] = {}
    problems = []
    for name, (label, value) in values.items():
        if name not in types:
            problems.append({"setting": label, "rule": "there is no such setting", "value": str(value)})
            continue
        try:
            checked[name] = msgspec.convert(value, types[name], strict=not isinstance(value, str) or types[name] is str)
        except msgspec.ValidationError as error:
            problems.append({"setting": label, "rule": str(error), "value": str(value)})
    if problems:
        message = "; ".join(f"{problem['setting']}: {problem['rule']} (it is {problem['value']!r})" for problem in problems)
        raise SettingsError(message, problems=problems)
    return Settings(**checked)
