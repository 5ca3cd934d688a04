"""What the nodes of the tests have deployed: a counter that remembers in which order it was told to count."""

from dataclasses import dataclass

from evento.sdk import Namespace

app = Namespace("tests")


@app.entity
@dataclass(frozen=True)
class Counter:
    total: int = 0
    last: int = 0


@app.event(Counter)
@dataclass(frozen=True)
class Counted:
    by: int
    after: int


@app.rejection(Counter)
@dataclass(frozen=True)
class Refused:
    by: int


@app.command(Counter)
@dataclass(frozen=True)
class Count:
    by: int


@app.command(Counter)
@dataclass(frozen=True)
class Fail:
    reason: str


@app.handle
def count(command: Count, counter: Counter | None) -> Counted | Refused:
    if command.by < 0:
        return Refused(command.by)
    return Counted(command.by, counter.last if counter else 0)


@app.handle
def fail(command: Fail, counter: Counter | None) -> Counted:
    raise ValueError(command.reason)


@app.apply
def evolve(event: Counted | Refused, counter: Counter | None) -> Counter:
    counter = counter or Counter()
    match event:
        case Counted(by):
            return Counter(counter.total + by, by)
    return counter
