"""The fields of each kind of manifest (design §4), checked one by one; what refers to what is `evento.registry.checks`' matter."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from evento.errors import InvalidName
from evento.model.keys import LABEL_NAME, TYPE_NAME, check_function_name, check_namespace, check_type_name
from evento.model.limits import PARTITIONS_MAX
from evento.model.resources import Resources, RetryPolicy, Scale

API_VERSION = "evento.dev/v1"
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DAY_S = 24 * 3600.0
_TIMEOUT_S_MAX = 60.0  # a call that takes longer holds up every instance in it (reliability §6)
_START_S_MAX = 600.0
_ARGUMENTS_MAX = 256
CONCURRENCY_MAX = 16  # calls under way to one replica: no more connections are opened to it
_SIZE = re.compile(r"([0-9]{1,6})(Mi|Gi)")
_UNITS = {"Mi": 1024**2, "Gi": 1024**3}
_MEMORY_BYTES_MIN = 16 * _UNITS["Mi"]  # below that no container starts
_MEMORY_BYTES_MAX = 1024 * _UNITS["Gi"]
_NAMES_MAX = 256
ONE_OF = ("command", "url", "image")
STANDS_WITH = {
    "directory": "command",
    "files": "command",
    "scale": "image",
    "resources": "image",
    "pull": "image",
}  # only with that one of the three


def duration_s(text: object) -> float:
    """Return the seconds in `100ms`, `5s`, `1.5m` or `1h`. Raises ValueError."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a duration such as 100ms, 5s, 1m or 1h")
    return round(float(match[1]) * _SECONDS[match[2]], 6)


def size_bytes(text: object) -> int:
    """Return the bytes in `64Mi` or `2Gi`. Raises ValueError."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a size such as 64Mi, 512Mi or 2Gi")
    return int(match[1]) * _UNITS[match[2]]


def _memory(size: int) -> int:
    if not _MEMORY_BYTES_MIN <= size <= _MEMORY_BYTES_MAX:
        raise ValueError("must be between 16Mi and 1024Gi")
    return size


def _named(check: Callable[[str], str]) -> AfterValidator:
    def checked(name: str) -> str:
        try:
            return check(name)
        except InvalidName as error:
            raise ValueError(f"must be {error.details['rule']}") from error

    return AfterValidator(checked)


def _written(pattern: re.Pattern[str]) -> WithJsonSchema:
    """Say what stands in a manifest before it is read: for schemas that are made from these models."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$"})


def _at_most(seconds_max: float, words: str) -> AfterValidator:
    def checked(seconds: float) -> float:
        if not 0.001 <= seconds <= seconds_max:
            raise ValueError(f"must be between 1ms and {words}")
        return seconds

    return AfterValidator(checked)


def _distinct(names: list[str]) -> list[str]:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"names {name} twice")
    return names


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]
NonEmpty = Annotated[Text, Field(min_length=1)]
TypeName = Annotated[str, _named(check_type_name), _written(TYPE_NAME)]
FunctionName = Annotated[str, _named(check_function_name), _written(LABEL_NAME)]
TypeNames = Annotated[list[TypeName], Field(max_length=_NAMES_MAX), AfterValidator(_distinct)]
Duration = Annotated[float, BeforeValidator(duration_s), _written(_DURATION)]
Memory = Annotated[int, BeforeValidator(size_bytes), AfterValidator(_memory), _written(_SIZE)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Metadata(_Model):
    """Who a resource is. Labels and annotations are Kubernetes' and the user's; Evento keeps no copy of them."""

    namespace: Annotated[str, _named(check_namespace)]
    labels: dict[str, Text] = {}
    annotations: dict[str, Text] = {}


class TypeMetadata(Metadata):
    """Metadata of an Entity, Command or Event."""

    name: TypeName


class FunctionMetadata(Metadata):
    """Metadata of a Function."""

    name: FunctionName


class EntityFields(_Model):
    """`spec` of an Entity."""

    model_config = ConfigDict(protected_namespaces=())
    avro: Annotated[Any, Field(alias="schema")]
    apply: FunctionName
    partitions: Annotated[int, Field(ge=0, le=PARTITIONS_MAX)] = 0


class EventFields(_Model):
    """`spec` of an Event."""

    entity: TypeName
    avro: Annotated[Any, Field(alias="schema")]


class RetryFields(_Model):
    """`retry` of a Command."""

    first: Annotated[Duration, _at_most(_DAY_S, "24h")] = RetryPolicy().first_s
    factor: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = RetryPolicy().factor
    cap: Annotated[Duration, _at_most(_DAY_S, "24h")] = RetryPolicy().cap_s
    attempts_max: Annotated[int, Field(alias="maxAttempts", ge=0, le=1_000_000)] = RetryPolicy().attempts_max

    @model_validator(mode="after")
    def _cap_is_not_below_first(self) -> "RetryFields":
        if self.cap < self.first:
            raise ValueError(f"first ({self.first:g}s) must not be above cap ({self.cap:g}s)")
        return self

    def policy(self) -> RetryPolicy:
        """Return these fields as the engine needs them."""
        return RetryPolicy(first_s=self.first, factor=self.factor, cap_s=self.cap, attempts_max=self.attempts_max)


class CommandFields(_Model):
    """`spec` of a Command."""

    entity: TypeName
    avro: Annotated[Any, Field(alias="schema")]
    events: Annotated[TypeNames, Field(min_length=1)]
    rejections: TypeNames = []
    handle: FunctionName
    retry: RetryFields = RetryFields()


class ScaleFields(_Model):
    """`scale` of a Function that is an image."""

    least: Annotated[int, Field(alias="min", ge=0, le=1000)] = Scale().least
    most: Annotated[int, Field(alias="max", ge=1, le=1000)] = Scale().most
    idle: Annotated[Duration, _at_most(_DAY_S, "24h")] = Scale().idle_s
    concurrency: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX)] = Scale().concurrency

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> "ScaleFields":
        if self.least > self.most:
            raise ValueError(f"min ({self.least}) must not be above max ({self.most})")
        return self


class ResourcesFields(_Model):
    """`resources` of a Function that is an image."""

    memory: Memory = Resources().memory_bytes
    cpus: Annotated[float, Field(ge=0.01, le=1024, allow_inf_nan=False)] = Resources().cpus
    processes: Annotated[int, Field(ge=1, le=100_000)] = Resources().processes


class FunctionFields(_Model):
    """`spec` of a Function: exactly one of command, url and image."""

    command: Annotated[list[NonEmpty], Field(min_length=1, max_length=_ARGUMENTS_MAX)] = []
    url: Annotated[str, Field(pattern=r"^(http|https)://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2048)] = ""
    image: Annotated[str, Field(pattern=r"^[a-z0-9][^\s]*$", max_length=512)] = ""
    directory: Text = ""
    files: Annotated[list[NonEmpty], Field(max_length=1000)] = []
    env: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Text], Field(max_length=1000)] = {}
    timeout: Annotated[Duration, _at_most(_TIMEOUT_S_MAX, "60s")] = 10.0
    start: Annotated[Duration, _at_most(_START_S_MAX, "10m")] = 60.0
    scale: ScaleFields | None = None
    resources: ResourcesFields | None = None
    pull: Literal["missing", "always"] = "missing"

    @model_validator(mode="after")
    def _is_one_of_three(self) -> "FunctionFields":
        given = [name for name in ONE_OF if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"must have exactly one of command, url and image, not {' and '.join(given) if given else 'none'}")
        for name, wanted in STANDS_WITH.items():
            if name in self.model_fields_set and given != [wanted]:
                raise ValueError(f"{name} stands with {wanted} only, not with {given[0]}")
        if self.url and self.env:
            raise ValueError("env stands with command or image only: somebody else runs a url")
        return self


class _Manifest(_Model):
    apiVersion: Literal["evento.dev/v1"]


class EntityManifest(_Manifest):
    """A class of business objects."""

    kind: Literal["Entity"]
    metadata: TypeMetadata
    spec: EntityFields


class EventManifest(_Manifest):
    """A fact about an Entity."""

    kind: Literal["Event"]
    metadata: TypeMetadata
    spec: EventFields


class CommandManifest(_Manifest):
    """An intent for an Entity."""

    kind: Literal["Command"]
    metadata: TypeMetadata
    spec: CommandFields


class FunctionManifest(_Manifest):
    """User code."""

    kind: Literal["Function"]
    metadata: FunctionMetadata
    spec: FunctionFields


Manifest = EntityManifest | EventManifest | CommandManifest | FunctionManifest
MANIFESTS: dict[str, type[Manifest]] = {
    "Entity": EntityManifest,
    "Event": EventManifest,
    "Command": CommandManifest,
    "Function": FunctionManifest,
}
