"""How fast all states are folded again from their events. Prints one line of JSON with `rate`, in events per second.

Fills a fresh data folder first, which is not measured; what is: reading the feed, apply in the function's process, checking and
storing the states, durably.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

from fill import fill, settings_of

from evento.bootstrap import open_node

EVENTS_EACH = 100


async def measure(data: Path, events: int) -> dict[str, float]:
    instances = max(1, events // EVENTS_EACH)
    if not any(data.glob("*.db")):
        await fill(data, instances=instances, events_each=EVENTS_EACH)
    async with open_node(settings_of(data)) as node:
        await node.wait_open()
        (caller,) = node.fleet.callers.values()
        await caller.ready()
        started = time.perf_counter()
        states = await node.refolder.refold_stale(everything=True)
        seconds = time.perf_counter() - started
    if states != instances:
        raise SystemExit(f"{states} states were folded, not {instances}")
    total = instances * EVENTS_EACH
    return {"events": total, "instances": instances, "seconds": round(seconds, 3), "rate": round(total / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    with asyncio.Runner() as runner:
        print(json.dumps(runner.run(measure(options.data, options.events))))


if __name__ == "__main__":
    main()
