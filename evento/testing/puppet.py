"""A function whose Command carries the script of what to do: to test platforms, runtimes and the conformance kit itself.

Serve it with `python -m evento.sdk evento.testing.puppet:puppet`. It breaks the rules on purpose where the script says so.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from enum import Enum

from evento.sdk import Context, Namespace

puppet = Namespace("puppet")


class Act(Enum):
    """What the puppet can do. The first few are harmless: samples made from the schema use no others."""

    SUCCEED = 0  # in `times` events
    REJECT = 1
    RAISE = 2
    GROW = 3  # the state by `size` bytes
    SLEEP = 4  # for `seconds`, letting others work meanwhile
    BLOCK = 5  # for `seconds`, letting nobody work
    NOTHING = 6  # end in no event
    UNDECLARED = 7  # end in an event that the Command does not declare
    WRONG = 8  # return what is no event
    UNFIT = 9  # return an event that does not fit its schema
    BREAK_APPLY = 10  # end in an event that apply fails on
    RANDOM = 11  # decide otherwise each time
    CRASH = 12  # end the process
    KILL = 13  # end it as kill -9 does


@puppet.entity
@dataclass(frozen=True)
class Puppet:
    """Counts what it did."""

    acts: int = 0
    last: str = ""
    ballast: bytes = b""


@puppet.event(Puppet)
@dataclass(frozen=True)
class Acted:
    """The puppet did something; `number` is which of the Command's events this is."""

    number: int
    text: str
    version: int
    size: int = 0


@puppet.event(Puppet)
@dataclass(frozen=True)
class Cursed:
    """An event that apply fails on."""


@puppet.event(Puppet)
@dataclass(frozen=True)
class Stray:
    """An event that no Command declares."""


@puppet.rejection(Puppet)
@dataclass(frozen=True)
class Refused:
    """The puppet was told to say no."""

    text: str


@puppet.command(Puppet)
@dataclass(frozen=True)
class Play:
    """One act. What it has no use for of the other fields is ignored."""

    act: Act = Act.SUCCEED
    text: str = ""
    times: int = 1
    seconds: float = 0.0
    size: int = 0


class PuppetFailed(Exception):
    """The puppet was told to raise."""


@puppet.handle
async def play(command: Play, puppet: Puppet | None, context: Context) -> Acted | Cursed | Refused | list[Acted]:
    """Follow the script."""
    number = context.version
    match command.act:
        case Act.SUCCEED:
            return [Acted(index, command.text, number) for index in range(max(1, min(command.times, 100)))]
        case Act.REJECT:
            return Refused(command.text)
        case Act.RAISE:
            raise PuppetFailed(command.text)
        case Act.GROW:
            return Acted(0, command.text, number, max(0, command.size))
        case Act.SLEEP:
            await asyncio.sleep(command.seconds)
        case Act.BLOCK:
            time.sleep(command.seconds)  # noqa: ASYNC251  # the point of it
        case Act.NOTHING:
            return []
        case Act.BREAK_APPLY:
            return Cursed()
        case Act.RANDOM:
            return Acted(0, str(random.random()), number)
        case _:
            return _misbehave(command.act, number)
    return Acted(0, command.text, number)


def _misbehave(act: Act, number: int) -> Acted:
    if act is Act.CRASH:
        os._exit(3)
    if act is Act.KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    wrong: dict[Act, object] = {Act.UNDECLARED: Stray(), Act.WRONG: "an event?", Act.UNFIT: Acted(0, b"no text", number)}  # type: ignore[arg-type]
    return wrong[act]  # type: ignore[return-value]


@puppet.apply
def evolve(event: Acted | Cursed | Stray | Refused, puppet: Puppet | None) -> Puppet:
    """Count."""
    puppet = puppet or Puppet()
    match event:
        case Acted():
            grown = puppet.ballast + b"x" * event.size
            return replace(puppet, acts=puppet.acts + 1, last=event.text, ballast=grown)
        case Cursed():
            raise PuppetFailed("this event cannot be applied")
    return puppet
