"""Resources as the engine needs them: checked, resolved, immutable. Manifests and schemas are `evento.registry`'s matter."""

from collections.abc import Mapping

from msgspec import Struct


class RetryPolicy(Struct, frozen=True):
    """When a failed turn is tried again: full jitter below first_s · factor^(attempts-1), capped. `attempts_max` 0: for ever."""

    first_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 30.0
    attempts_max: int = 0


class Scale(Struct, frozen=True):
    """How many containers of one image run: as many as calls need, `concurrency` calls each, and at least `least`, at most `most`.

    One that had no call for `idle_s` is ended, unless it is one of the least.
    """

    least: int = 0
    most: int = 1
    idle_s: float = 60.0
    concurrency: int = 2


class Resources(Struct, frozen=True):
    """What one container may use at most."""

    memory_bytes: int = 512 * 1024 * 1024
    cpus: float = 1.0
    processes: int = 256


class FunctionSpec(Struct, frozen=True):
    """A Function: exactly one of `command` (a local process), `url` (someone else runs it) and `image` (a container).

    `directory` is where a command runs; `revision` identifies the content of a command or image, "" for a url (discovery tells).
    `files` are the globs below `directory` that make the revision of a command; none: what the command names.
    `scale`, `resources` and `pull_always` stand with an image only. `digests`: how registries know the image of this revision.
    """

    namespace: str
    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    image: str = ""
    directory: str = ""
    env: Mapping[str, str] = {}
    revision: str = ""
    timeout_s: float = 10.0
    start_s: float = 60.0
    files: tuple[str, ...] = ()
    scale: Scale | None = None
    resources: Resources | None = None
    pull_always: bool = False
    digests: tuple[str, ...] = ()


class Pinned(Struct, frozen=True):
    """Which content an image is, by its `revision`; and under which `digests` its repository may give it again."""

    revision: str
    digests: tuple[str, ...] = ()


class EventSpec(Struct, frozen=True):
    """An event type of an Entity, with the schema version now in force."""

    name: str
    schema_id: int


class CommandSpec(Struct, frozen=True):
    """A Command type of an Entity: the events it may end in, and the function (by name, same namespace) that handles it."""

    name: str
    schema_id: int
    events: frozenset[str]
    rejections: frozenset[str]
    handle: str
    retry: RetryPolicy = RetryPolicy()


class EntitySpec(Struct, frozen=True):
    """An Entity with everything that belongs to it; `apply` is the function (by name, same namespace) that folds its events.

    `partitions` are how many of the journal's it uses; 0: all.
    """

    namespace: str
    name: str
    schema_id: int
    apply: str
    commands: Mapping[str, CommandSpec]
    events: Mapping[str, EventSpec]
    partitions: int = 0
