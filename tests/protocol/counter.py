"""The smallest domain that has everything: what the vectors and the tests of the kit are made of."""

from dataclasses import dataclass

from evento.sdk import Namespace

demo = Namespace("demo")


@demo.entity
@dataclass(frozen=True)
class Counter:
    """A number that only grows."""

    total: int = 0
    refusals: int = 0


@demo.event(Counter)
@dataclass(frozen=True)
class Added:
    """The number grew."""

    by: int


@demo.rejection(Counter)
@dataclass(frozen=True)
class AddRefused:
    """It would not have grown."""

    by: int


@demo.command(Counter)
@dataclass(frozen=True)
class Add:
    """Let the number grow."""

    by: int


@demo.command(Counter)
@dataclass(frozen=True)
class AddTwice:
    """Let the number grow twice, at once."""

    by: int


@demo.handle
def add(command: Add, counter: Counter | None) -> Added | AddRefused:
    return Added(command.by) if command.by > 0 else AddRefused(command.by)


@demo.handle
def add_twice(command: AddTwice, counter: Counter | None) -> list[Added]:
    if command.by <= 0:
        raise ValueError("not positive")
    return [Added(command.by), Added(command.by)]


@demo.apply
def evolve(event: Added | AddRefused, counter: Counter | None) -> Counter:
    counter = counter or Counter()
    if isinstance(event, Added):
        return Counter(counter.total + event.by, counter.refusals)
    return Counter(counter.total, counter.refusals + 1)
