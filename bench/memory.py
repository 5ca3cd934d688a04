"""How much memory the platform takes with a million instances stored. Prints one line of JSON with `rss_mb`.

Fills a fresh data folder, then starts the platform on it in a process of its own, sends Commands to instances chosen at random, and
reads the resident memory of that process.
"""

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path

from fill import fill, settings_of

from evento.bootstrap import open_node
from evento.model.command import Command
from evento.model.keys import EntityKey

COMMANDS = 50_000
_CHUNK = 500


async def use(data: Path, instances: int) -> dict[str, float]:
    """Run the platform on the filled folder and work on it."""
    async with open_node(settings_of(data)) as node:
        await node.wait_open()
        catalog, _ = node.engine.configuration
        spec = catalog.command("bank", "Checking", "ReceiveDeposit")
        payload = catalog.schema(spec.schema_id).from_json({"amount": "1.00"})
        opened = resident_mib()
        for start in range(0, COMMANDS, _CHUNK):
            keys = [EntityKey("bank", "Checking", f"a{random.randrange(instances)}") for _ in range(_CHUNK)]
            commands = [
                Command(f"m{start + n}", key, spec.name, spec.schema_id, payload, node.clock.now_us()) for n, key in enumerate(keys)
            ]
            for answer in await node.engine.send_many(commands, wait_s=30):
                if isinstance(answer, Exception):
                    raise answer
    return {"instances": instances, "commands": COMMANDS, "opened_mb": opened, "rss_mb": resident_mib()}


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--instances", type=int, default=1_000_000)
    options = parser.parse_args()
    with asyncio.Runner() as runner:
        if not any(options.data.glob("*.db")):
            runner.run(fill(options.data, instances=options.instances, events_each=1))
            os.execv(sys.executable, [sys.executable, *sys.argv])  # so that what filling took is not counted
        print(json.dumps(runner.run(use(options.data, options.instances))))


if __name__ == "__main__":
    main()
