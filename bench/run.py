"""Compares Evento with what a user would take instead: the same bank, side by side in one run on one machine, all durable.

`python bench/run.py` (make bench) takes a quarter of an hour; `--quick --only http` a minute or two. Each round runs every peer
once, in turn, each with fresh data; results are appended as JSON lines to bench/results/, tables are printed at the end.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import containers as contained
import machine
import peers
import report
from install import BENCH, CACHE, install

SECTIONS = ("http", "stream", "rebuild", "memory", "containers")
SERVICES: dict[str, Callable[[Path], AbstractContextManager[peers.Service]]] = {
    "evento": peers.evento,
    "restate-python": partial(peers.restate, sdk="python"),
    "restate-typescript": partial(peers.restate, sdk="typescript"),
}
PEERS = (*SERVICES, "eventsourcing")
LIBRARY = {"eventsourcing": [], "eventsourcing-cache": ["--cache"]}
HOT = 10
WARM_S = 3
SETTLE_S = 1.0
REBUILD_EVENTS = 1_000_000
EVENTS_EACH = 20

Line = dict[str, Any]


def http(options: argparse.Namespace, seed: int) -> Iterator[Line]:
    """One Command per request: 128 in flight on 10,000 accounts and on 10, then one client alone."""
    kinds = {"spread": ["-c", "128"], "hot": ["-c", "128", "-n", str(HOT)], "alone": ["-c", "1"]}
    run = ["-seed", str(seed), "-s", str(options.seconds)]
    for peer, start in SERVICES.items():
        if peer not in options.peers:
            continue
        with folder() as data, start(data) as service:
            peers.load(["http", *service.http, "-s", str(WARM_S), "-seed", "99"])
            for kind, arguments in kinds.items():
                with watched(data, service.pids) as seen:
                    result = peers.load(["http", *service.http, *run, *arguments])
                yield line(f"http {kind}", peer, result, seen)
    library = {"spread": ["--threads", "16"], "hot": ["--threads", "16", "--accounts", str(HOT)], "alone": ["--threads", "1"]}
    yield from in_process(options, seed, {f"http {kind}": arguments for kind, arguments in library.items()}, LIBRARY)


def stream(options: argparse.Namespace, seed: int) -> Iterator[Line]:
    """Many Commands in one request; in process, the library's best: one by one, and in batches saved at once."""
    kinds = {"spread": [], "hot": ["-n", str(HOT)]}
    run = ["-seed", str(seed), "-s", str(options.seconds)]
    if "evento" in options.peers:
        with folder() as data, peers.evento(data) as service:
            peers.load(["stream", *service.stream, "-s", str(WARM_S), "-seed", "99"])
            for kind, arguments in kinds.items():
                with watched(data, service.pids) as seen:
                    result = peers.load(["stream", *service.stream, *run, *arguments])
                yield line(f"stream {kind}", "evento", result, seen)
    library = {"stream spread": [], "stream hot": ["--accounts", str(HOT)]}
    variants = {"eventsourcing-cache": ["--cache"], "eventsourcing-cache, 1,000 in one save": ["--cache", "--batch", "1000"]}
    yield from in_process(options, seed, library, variants)


def in_process(
    options: argparse.Namespace, seed: int, kinds: dict[str, list[str]], variants: dict[str, list[str]]
) -> Iterator[Line]:
    """Run the library's variants, each in a fresh file."""
    if "eventsourcing" not in options.peers:
        return
    run = ["--seed", str(seed), "--seconds", str(options.seconds)]
    for peer, variant in variants.items():
        for case, arguments in kinds.items():
            with folder() as data, watched(data, []) as seen:
                result = peers.eventsourcing(data, *run, *variant, *arguments)
            yield line(case, peer, result, seen)


def rebuild(options: argparse.Namespace, seed: int) -> Iterator[Line]:
    """Fold every state anew from a million events of 50,000 accounts."""
    events = REBUILD_EVENTS // 10 if options.quick else REBUILD_EVENTS
    yield from own_script("rebuild", options, ["--events", str(events)])
    if "eventsourcing" in options.peers:
        accounts = ["--accounts", str(events // EVENTS_EACH), "--rebuild", str(EVENTS_EACH)]
        with folder() as data:
            yield {"case": "rebuild", "peer": "eventsourcing"} | peers.eventsourcing(data, *accounts)


def memory(options: argparse.Namespace, seed: int) -> Iterator[Line]:
    """Measure the platform's resident memory with a million instances stored."""
    yield from own_script("memory", options, ["--instances", "100000" if options.quick else "1000000"])


def containers(options: argparse.Namespace, seed: int) -> Iterator[Line]:
    """Measure functions in containers beside the same as a local process, in turn; and a cold start beside the engine alone."""
    if "evento" not in options.peers:
        return
    run = ["-seed", str(seed), "-s", str(options.seconds)]
    with contained.engine() as engine, folder() as made:
        image = contained.bank_image(engine)
        manifests = contained.manifests(made, image, "{min: 1}")
        kinds = {"evento": {}, "evento-containers": {"manifests": manifests, "env": {"EVENTO_CONTAINER_ENGINE": engine.url}}}
        for peer, kind in kinds.items():
            with folder() as data, peers.evento(data, **kind) as service:
                peers.load(["stream", *service.stream, "-s", str(WARM_S), "-seed", "99"])
                with watched(data, service.pids) as seen:
                    result = peers.load(["stream", *service.stream, *run])
                yield line("containers stream", peer, result, seen)
                with watched(data, service.pids) as seen:
                    result = peers.load(["http", *service.http, *run, "-c", "128"])
                yield line("containers http", peer, result, seen)
    yield from own_script("containers", options, ["--rounds", "5" if options.quick else "15"])


def own_script(case: str, options: argparse.Namespace, arguments: list[str]) -> Iterator[Line]:
    """Run bench/{case}.py, which looks inside the platform and prints one line of JSON."""
    if "evento" in options.peers:
        with folder() as data:
            command = [sys.executable, str(BENCH / f"{case}.py"), "--data", str(data), *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        yield {"case": case, "peer": "evento"} | json.loads(done.stdout)


@contextmanager
def watched(data: Path, pids: list[int]) -> Iterator[Line]:
    """Watch the machine once the writes behind of the run before are done."""
    time.sleep(SETTLE_S)
    with machine.watched(data, pids) as seen:
        yield seen


def line(case: str, peer: str, result: Line, seen: Line) -> Line:
    """Return a result with what was seen during it; CPU time by Command."""
    used = {name: round(seconds / max(1, result["n"]) * 1e6, 1) for name, seconds in seen.pop("cpu_s", {}).items()}
    return {"case": case, "peer": peer} | result | seen | ({"cpu_us": used} if used else {})


@contextmanager
def folder() -> Iterator[Path]:
    """Make a fresh folder on the disk that the repository is on, never in memory."""
    (CACHE / "data").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE / "data") as name:
        yield Path(name)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers, separated by commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each run")
    parser.add_argument("--quick", action="store_true", help="one round, runs of 3 seconds: a look, not a result")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 3
    options.only, options.peers = options.only.split(","), options.peers.split(",")
    for given, known in ((options.only, SECTIONS), (options.peers, PEERS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def main() -> None:
    """Run what was asked for, round by round, and print the tables."""
    options = parse()
    install(
        python=bool({"eventsourcing", "restate-python"} & set(options.peers)),
        node=any(p.startswith("restate") for p in options.peers),
    )
    shutil.rmtree(CACHE / "data", ignore_errors=True)
    results = BENCH / "results" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    results.parent.mkdir(exist_ok=True)
    sections = {"http": http, "stream": stream, "rebuild": rebuild, "memory": memory, "containers": containers}
    with folder() as data:
        lines: list[Line] = [{"machine": machine.describe(data), "seconds": options.seconds, "rounds": options.rounds}]
    with results.open("w") as file:
        print(json.dumps(lines[0]), file=file, flush=True)
        for seed in range(1, options.rounds + 1):
            for section in options.only:
                for line in sections[section](options, seed):
                    lines.append(line | {"round": seed})
                    print(json.dumps(lines[-1]), file=file, flush=True)
                    print(report.one(lines[-1]), file=sys.stderr, flush=True)
    print(report.tables(lines))
    print(f"\n{results.relative_to(BENCH.parent)}")


if __name__ == "__main__":
    main()
