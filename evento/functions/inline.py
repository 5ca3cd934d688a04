"""A function that is a Python callable in this process, for simulation and tests. It knows no wire, no time and no process."""

from collections.abc import Callable, Sequence

from evento.functions.base import InstanceCall, Operation, Reply

InlineCall = Callable[[Operation, str, str, Sequence[InstanceCall]], Reply]


class InlineFunction:
    """A FunctionClient that calls `function(operation, namespace, entity, calls)`; it may raise any FunctionError."""

    def __init__(self, function: InlineCall, *, revision: str = "inline") -> None:
        self._function = function
        self._revision = revision

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._revision

    async def ready(self) -> None:
        """Return at once: a callable is always ready."""

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Return what the callable returns."""
        reply = self._function(operation, namespace, entity, calls)
        self._revision = reply.revision or self._revision
        return reply
