"""Topics that were there and are gone: what is lost with each, and what a person can do. Pure.

Nothing that held what nothing else holds is made anew by itself: it would be there, empty, and nobody would notice.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

GUIDE = "docs/how-to/watch-a-cluster.md#a-topic-is-gone"


class Loss(Struct, frozen=True):
    """What a topic held, and, if a deployment can go on with an empty one in its place, what else is to be done then."""

    held: str
    beside: str | None = None


class Losses:
    """What the topics held."""

    PENDING = Loss(
        "every Command that was accepted and is not finished: those that wait, are parked or scheduled",
        ", then delete the topic {replicas}, and start all nodes with empty data folders, for replicas know what was pending",
    )
    OUTCOMES = Loss("what became of every Command: the history that Evento reads")
    CATALOG = Loss("everything that was ever deployed, with the schemas that Events are read with")
    COMMANDS = Loss("Commands that programs outside wrote and Evento had not read", "")
    EVENTS = Loss("every Event of this Entity, for all who read them there")


def gone_topics(gone: Mapping[str, Loss], creation: Callable[[str], str], replicas: str) -> str:
    """Return what to tell a person. `creation` gives the command that makes a topic anew, `replicas` is the topic of copies."""
    lost = "; ".join(f"topic {name} was there and is gone, and with it {loss.held}" for name, loss in gone.items())
    ways = "".join(
        f". To do without what {name} held, make it anew: {creation(name)}{loss.beside.format(replicas=replicas)}"
        for name, loss in gone.items()
        if loss.beside is not None
    )
    return (
        f"{lost}. It is not made anew by itself, for nobody would notice the loss. Restore what is gone, or import an export into "
        f"a journal with another prefix ({GUIDE}){ways}"
    )


def made_anew(name: str, partition: int, held: str, replica: Path, replicas: str) -> str:
    """Return what to tell a person of a topic that is another one, and empty, where a replica knows of what the one before held."""
    return (
        f"topic {name} was deleted and made anew, and has fewer records than it had: partition {partition} had {held}, which the "
        f"replica {replica} still has. Restore what was on the topic; once it is restored, or to do without it, delete the topic "
        f"{replicas}, and start all nodes with empty data folders ({GUIDE})"
    )
