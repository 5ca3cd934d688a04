"""The node of `kafka_child` whose client library hangs in a call after some commits, as it once did: it never comes back.

`python -m tests.journal.kafka_stuck ADDRESS FOLDER COUNT`.
"""

import asyncio
import logging
import sys
from itertools import count
from pathlib import Path
from threading import Event

from confluent_kafka import Producer

from evento.journal.kafka import transactions, watchdog
from tests.journal.kafka_child import main

COMMITS = 3
TICKS = 5
_commits = count(1)


class Hanging(Producer):
    """A producer that does not care for the time that it is given."""

    def begin_transaction(self) -> None:
        if next(_commits) > COMMITS:
            watchdog.STUCK_TICKS = TICKS  # from now on: what is slow before is not taken for what hangs
            Event().wait()
        super().begin_transaction()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(levelname)s %(message)s")
    transactions.Producer = Hanging  # type: ignore[misc]
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
