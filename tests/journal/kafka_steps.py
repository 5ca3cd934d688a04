"""The node of `kafka_child` that ends as by `kill -9`, or stands still, at one step of a commit. The product knows nothing of it.

`python -m tests.journal.kafka_steps ADDRESS FOLDER COUNT [HOW STEP]`. HOW is `kill`, `stop`, or `late`: to stand still, and to hear
of the group later than owners go on. It says when it comes to the step, and each time that it takes an owner's transactional id.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

from confluent_kafka import Consumer, Message, Producer

from evento.journal.kafka import membership, transactions
from evento.journal.kafka.clients import Times
from evento.journal.kafka.replica import Replica
from tests.journal import kafka_child
from tests.journal.kafka_child import say

STEPS = (
    "before begin_transaction",
    "after begin_transaction",
    "before flush",
    "after flush",
    "after send_offsets_to_transaction",
    "before commit_transaction",
    "after commit_transaction",
    "before advance",
    "after advance",
)
COMMITS = 3  # that come to their end before
STOOD_STILL_S = 1.0  # what a thread never waits on a machine that goes
LATE_S = 3.0
TIMES = Times(session_ms=5_000, heartbeat_ms=300, transaction_ms=8_000, message_ms=5_000, request_ms=4_000)
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "late": signal.SIGSTOP}


class Steps:
    """The step that is waited for."""

    def __init__(self, how: str, step: str) -> None:
        self._signal = _SIGNALS[how]
        self._step = step
        self._begun = 0
        self.continued = Event()
        signal.signal(signal.SIGCONT, lambda *_: self.continued.set())

    def begin(self) -> None:
        """Hear that the next commit begins."""
        self._begun += 1

    def come_to(self, step: str) -> None:
        """Do what is to be done there, once."""
        if step == self._step and self._begun > COMMITS:
            self._step = ""
            say(f"STEP {step}")
            os.kill(os.getpid(), self._signal)
            self.continued.wait()  # on a busy machine this thread would go on for a while before it stands still


class Stepping(Producer):
    """A producer that comes to steps, if it is that of commits, and not that of copies."""

    steps: Steps | None = None

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties)
        self._is_owners = not properties["transactional.id"].endswith(".copies")

    def init_transactions(self, *arguments: Any) -> None:
        if self._is_owners:
            say("FENCE")
        super().init_transactions(*arguments)

    def begin_transaction(self) -> None:
        if self.steps is not None and self._is_owners:
            self.steps.begin()
        self._come_to("before begin_transaction")
        super().begin_transaction()
        self._come_to("after begin_transaction")

    def flush(self, *arguments: Any) -> int:
        self._come_to("before flush")
        left = super().flush(*arguments)
        self._come_to("after flush")
        return left

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        super().send_offsets_to_transaction(*arguments)
        self._come_to("after send_offsets_to_transaction")

    def commit_transaction(self, *arguments: Any) -> None:
        self._come_to("before commit_transaction")
        super().commit_transaction(*arguments)
        self._come_to("after commit_transaction")

    def _come_to(self, step: str) -> None:
        if self.steps is not None and self._is_owners:
            self.steps.come_to(step)


class Late(Consumer):
    """A membership whose thread, after the process stood still, gets no processor for a while."""

    def poll(self, timeout: float = -1) -> Message | None:
        begun = time.monotonic()
        Event().wait(timeout)
        if time.monotonic() - begun > STOOD_STILL_S:
            Event().wait(LATE_S)
        return super().poll(0)


def watch_replica(steps: Steps) -> None:
    """Let what a commit does to the replica be a step, too."""
    advance = Replica.advance

    def stepping(replica: Replica, *arguments: Any) -> None:
        steps.come_to("before advance")
        advance(replica, *arguments)
        steps.come_to("after advance")

    Replica.advance = stepping  # type: ignore[method-assign]


def arm(how: str, step: str) -> None:
    """Wait for a step."""
    Stepping.steps = Steps(how, step)
    watch_replica(Stepping.steps)
    if how == "late":
        membership.Consumer = Late  # type: ignore[misc]


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(levelname)s %(message)s")
    transactions.Producer = Stepping  # type: ignore[misc]
    kafka_child.QUICK = TIMES
    if len(sys.argv) > 4:
        arm(sys.argv[4], sys.argv[5])
    asyncio.run(kafka_child.main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
