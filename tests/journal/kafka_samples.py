"""Records of every kind with their values. `python -m tests.journal.kafka_samples` writes down those that are not yet in the file.

What is in the file stands on somebody's topics: it is never written anew.
"""

import json
from pathlib import Path

from evento.journal.kafka.records import (
    Done,
    Record,
    event_records,
    inputs_record,
    outcome_record,
    pending_gone,
    pending_record,
    refusal_record,
    state_record,
)
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Refusal

VECTORS = Path(__file__).parent / "kafka_vectors.json"
TIME_US = 1_790_000_000_123_456
KEY = EntityKey("bank", "Checking", "Zoë 1")
CONTEXT = Context("conversation-7", "cause-8", "ada", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tx", "dek")
PLAIN = Command("c1", KEY, "Withdraw", 3, b"\x06abc", TIME_US - 1_000)
FULL = Command("c2", KEY, "Withdraw", 300, b"", TIME_US - 2_000, 0, TIME_US + 1, CONTEXT)
WITHDRAWN, REFUSED = Event("Withdrawn", 4, b"\x02"), Event("Refused", 70_000, b"\x80\x00\xff", True)
FAILURE = Failure("handler-failed", "it broke", "bank-functions")

TURNS = {
    "one event": Turn(PLAIN, OutcomeKind.SUCCEEDED, 41, (WITHDRAWN,), TIME_US, "r1"),
    "two events": Turn(FULL, OutcomeKind.REJECTED, 200, (WITHDRAWN, REFUSED), TIME_US, "", 3),
    "conflict": Turn(FULL, OutcomeKind.CONFLICT, 9_000, (), 0),
    "discarded": Turn(PLAIN, OutcomeKind.DISCARDED, 0, (), TIME_US, "r1", 70, FAILURE),
}
REFUSAL = Refusal(
    "bank.Checking.commands", 17, EntityKey("bank", "Checking", ""), "", "invalid-request", "the record has no key", TIME_US
)
STATE = State(42, b"\x0aalice", 5, "sha256:abc")
PENDINGS = {
    "pending": Pending(7, PLAIN),
    "parked": Pending(2**40, FULL, 5, TIME_US, True, FAILURE),
}
INPUTS = {"bank.Checking.commands": Done(18), "bank.Savings.commands": Done(2**40)}
INPUTS_OF_TOPICS = {
    "bank.Checking.commands": Done(18, "EXvOSzZhQxyb3eo2ZAbJ7g"),
    "bank.Savings.commands": Done(2**40, "g7JbAZ2oe3byxQhZzSOvXE", anew=True),
    "bank.Old.commands": Done(3),
}


def records() -> dict[str, list[Record]]:
    """Return the records of every sample."""
    made: dict[str, list[Record]] = {}
    for name, turn in TURNS.items():
        made[f"events, {name}"] = event_records("bank.Checking.events", turn)
        made[f"outcome, {name}"] = [outcome_record("evento.outcomes", turn)]
    made["refusal"] = [refusal_record("evento.outcomes", REFUSAL)]
    made["state"] = [state_record("bank.Checking.state", KEY, STATE)]
    for name, pending in PENDINGS.items():
        made[name] = [pending_record("evento.pending", pending)]
    made["gone"] = [pending_gone("evento.pending", 7)]
    made["inputs"] = [inputs_record("evento.pending", INPUTS)]
    made["inputs of known topics"] = [inputs_record("evento.pending", INPUTS_OF_TOPICS)]
    return made


def as_json(record: Record) -> dict[str, object]:
    """Return a record as it stands in the file: texts as they are, everything else in hex."""
    value = None if record.value is None else record.value.hex()
    headers = [[name, content.decode()] for name, content in record.headers]
    return {"topic": record.topic, "key": record.key.decode(), "value": value, "headers": headers}


def main() -> None:
    """Add what is new to the file."""
    kept = json.loads(VECTORS.read_text("utf-8")) if VECTORS.exists() else {}
    new = {name: [as_json(record) for record in made] for name, made in records().items()}
    VECTORS.write_text(json.dumps(new | kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
