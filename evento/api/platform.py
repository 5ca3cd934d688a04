"""What a running platform hands to its HTTP face; `evento.bootstrap` fills it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from evento.clock import Clock
from evento.engine.base import Commands, Operations, Reads
from evento.registry.catalog import Catalog
from evento.registry.deployment import Change
from evento.telemetry import Metrics


class Deployed(Struct, frozen=True):
    """The answer to a deployment: the catalog version in force, whether this deployment made it, and what it changes (or would)."""

    version: int
    committed: bool
    changes: Sequence[Change]


class Deploy(Protocol):
    """Deploys manifest documents, JSON values from outside."""

    async def __call__(self, documents: Sequence[object], *, dry_run: bool, prune: bool) -> Deployed:
        """Check everything, and unless `dry_run` commit and put the new catalog in force.

        Raises DeploymentRefused with all `problems`; nothing was changed.
        """
        ...


class Waits(Struct, frozen=True):
    """How long a request may wait for its Command's end, in seconds: when it does not say, and at most."""

    default_s: float = 10.0
    max_s: float = 60.0


class Platform(Struct, frozen=True):
    """Everything the API may use. `catalog` returns the catalog in force now; topics' names begin with `topic_prefix`."""

    catalog: Callable[[], Catalog]
    commands: Commands
    reads: Reads
    operations: Operations
    deploy: Deploy
    metrics: Metrics
    clock: Clock
    waits: Waits = Waits()
    topic_prefix: str = ""
