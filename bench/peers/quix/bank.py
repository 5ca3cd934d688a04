"""The bank as a Quix Streams application with state, exactly once. Runs until it is killed.

Usage: bank.py BROKERS GROUP COMMANDS EVENTS FOLDER COMMIT_S
"""

import sys
from typing import Any

from quixstreams import Application

POLL_S_MAX = 1.0  # as it comes


def handle(command: dict[str, Any], state: Any) -> dict[str, Any]:
    """Decide, evolve, and return the event."""
    cents, balance = command["cents"], state.get("balance", 0)
    kind = "Deposited" if cents >= 0 else "Withdrawn" if balance >= -cents else "Rejected"
    if kind != "Rejected":
        balance += cents
        state.set("balance", balance)
    return {"event": kind, "cents": cents, "balance": balance, "number": command["number"]}


def main() -> None:
    """Run the application."""
    brokers, group, commands, events, folder, commit_s = sys.argv[1:]
    bank = Application(
        broker_address=brokers,
        consumer_group=group,
        processing_guarantee="exactly-once",
        state_dir=folder,
        auto_offset_reset="earliest",
        commit_interval=float(commit_s),
        consumer_poll_timeout=min(POLL_S_MAX, float(commit_s) / 2),
        producer_extra_config={"linger.ms": 5},
        loglevel="ERROR",
    )
    taken = bank.topic(commands, value_deserializer="json")
    told = bank.topic(events, value_serializer="json")
    bank.dataframe(taken).apply(handle, stateful=True).to_topic(told)
    bank.run()


if __name__ == "__main__":
    main()
