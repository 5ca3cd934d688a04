"""What a running platform hands to its HTTP face; `evento.bootstrap` fills it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from evento.clock import Clock
from evento.engine.base import Commands, Operations, Reads
from evento.registry.catalog import Catalog
from evento.telemetry import Metrics


class Deployed(Struct, frozen=True):
    """The answer to a deployment: the catalog version after it (or that it would have), and what changes, one sentence each."""

    version: int
    committed: bool
    changes: Sequence[Any]


class Waits(Struct, frozen=True):
    """How long a request may wait for its Command's end, in seconds: when it does not say, and at most."""

    default_s: float = 10.0
    max_s: float = 60.0


class Platform(Struct, frozen=True):
    """Everything the API may use. `catalog` returns the catalog in force at this moment.

    `deploy(documents, dry_run)` plans, and unless `dry_run` commits, a deployment. It raises DeploymentRefused with all problems.
    """

    catalog: Callable[[], Catalog]
    commands: Commands
    reads: Reads
    operations: Operations
    deploy: Callable[[Sequence[Any], bool], Awaitable[Deployed]]
    metrics: Metrics
    clock: Clock
    waits: Waits = Waits()
