"""The node of `kafka_child` whose client library does not come back from calls of a transaction, or fails in itself, as it did.

`python -m tests.journal.kafka_left ADDRESS FOLDER COUNT`. One of them has done what was asked, and nobody hears of it.
"""

import asyncio
import logging
import sys
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from confluent_kafka import Producer

from evento.journal.kafka import transactions
from tests.journal.kafka_child import main

_offsets, _commits, _flushes = count(1), count(1), count(1)


class Hanging(Producer):
    """A producer that does not care for the time that it is given."""

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        if next(_offsets) == 4:
            Event().wait()
        super().send_offsets_to_transaction(*arguments)

    def flush(self, *arguments: Any) -> int:
        left = super().flush(*arguments)
        if next(_flushes) == 9:
            raise SystemError("<class 'logging.LogRecord'> returned a result with an exception set")
        return left

    def commit_transaction(self, *arguments: Any) -> None:
        super().commit_transaction(*arguments)
        if next(_commits) == 6:
            Event().wait()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(levelname)s %(message)s")
    transactions.Producer = Hanging  # type: ignore[attr-defined,misc]
    transactions.OFFSETS_S, transactions.COMMIT_S, transactions.GRACE_S = 1.0, 3.0, 0.5
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
