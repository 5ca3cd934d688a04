"""Compares Evento's journal on Kafka with stream processors doing the same bank on the same broker, one after another in one run.

`python bench/kafka.py` (make bench-kafka) takes most of an hour; `--quick --only throughput` some minutes. The broker is Apache
Kafka, one node, started for the run, on the same machine as everything else. It answers from memory; nobody waits for the disk.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import peers
import topics
from install import BENCH, CACHE, EVENTO, PEER_PYTHON, PEERS, ROOT, install
from processes import free_port, running, use_of, wait_until_ready

sys.path.insert(0, str(ROOT))
from tests.kafka.broker import Cluster

SECTIONS = ("throughput", "latency", "restore", "partitions", "nodes")
PEER_NAMES = ("evento", "streams", "quix")
ACCOUNTS = 10_000
PARTITIONS = 4
STREAMS = CACHE / "streams"
COMMIT_S = {"streams": 0.1, "quix": 5.0}  # as they come
QUICK_COMMIT_S = {"streams": 0.001, "quix": 0.01}  # as low as it goes
COPY_S = 10  # for the owner, to copy what has come just now
MANY_PARTITIONS = (1, 8, 64)
MANY_NODES = (1, 2)
Line = dict[str, Any]


class Bench:
    """A broker, and what is asked of it."""

    def __init__(self, broker: Cluster, folder: Path, options: argparse.Namespace) -> None:
        self.brokers = broker.bootstrap
        self.broker_pid = broker.brokers[0].pid
        self.folder = folder
        self.options = options
        self._runs = 0

    def fresh(self, peer: str) -> str:
        """Return a name that no run had."""
        self._runs += 1
        return f"{peer}{self._runs}"

    # ------------------------------------------------------------ the contestants
    @contextmanager
    def evento(self, prefix: str, partitions: int, data: Path) -> Iterator[tuple[str, int]]:
        """Run a node; yield its URL and pid once it is ready."""
        port = free_port()
        log = self.folder / f"{prefix}{port}.log"
        journal = f"kafka://{self.brokers}?prefix={prefix}&partitions={partitions}&replication=1"
        url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [EVENTO, "serve", "--journal", journal, "--data", data, "--port", str(port)]
        with running(command, log, cwd=ROOT) as pid:
            wait_until_ready(f"{url}/readyz", log)
            yield url, pid

    @contextmanager
    def processor(self, peer: str, name: str, data: Path, commit_s: float) -> Iterator[tuple[Path, int]]:
        """Run a stream processor on the topics of a name; yield its output and its pid."""
        output, commands, events = self.folder / f"{name}.log", topics.commands(name), topics.events(name)
        if peer == "streams":
            program: list[str | Path] = ["java", "-Xmx1g", "-cp", f"{STREAMS}/classes:{STREAMS}/libs/*", "Bank"]
            last = str(max(1, round(commit_s * 1000)))
        else:
            program, last = [PEER_PYTHON, PEERS / "quix/bank.py"], str(commit_s)
        with running([*program, self.brokers, name, commands, events, data, last], output) as pid:
            yield output, pid

    def deploy(self, url: str, accounts: int) -> None:
        """Deploy the bank, and open its accounts."""
        subprocess.run([EVENTO, "deploy", peers.BANK, "--yes", "--url", url], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        peers.load(["setup", "-n", str(accounts), "-url", f"{url}/v1/commands"])

    # ------------------------------------------------------------ throughput
    def throughput(self) -> Iterator[Line]:
        """Commands that wait on a topic, until the last of them is committed, with its Event."""
        for peer in self.options.peers:
            for case, accounts in (("spread", ACCOUNTS), ("hot", 10)):
                run = self._evento_run(PARTITIONS, accounts) if peer == "evento" else self._processor_run(peer, accounts)
                yield {"case": f"throughput {case}", "peer": peer} | run

    def partitions(self) -> Iterator[Line]:
        """What a Command costs with more and more partitions on one node that has taken all of them before the first one comes."""
        if "evento" not in self.options.peers:
            return
        self._spread_run(MANY_PARTITIONS[-1])  # for the broker: what it compiles at first would be counted to whoever comes first
        for count in MANY_PARTITIONS:
            yield {"case": f"{count} partitions", "peer": "evento"} | self._spread_run(count)

    def nodes(self) -> Iterator[Line]:
        """The same, with more and more nodes on this one machine."""
        for count in MANY_NODES if "evento" in self.options.peers else ():
            yield {"case": f"{count} nodes", "peer": "evento"} | self._evento_run(8, ACCOUNTS, nodes=count)

    def _evento_run(self, partitions: int, accounts: int, *, nodes: int = 1) -> Line:
        prefix, count = self.fresh("evento") + ".", self.options.commands
        data = self.folder / prefix
        with self.evento(prefix, partitions, data) as (url, _):
            self.deploy(url, accounts)
            schemas = topics.schemas(url)
        topic = f"{prefix}bank.Checking.commands"
        topics.fill_evento(self.brokers, topic, partitions, schemas, count=count, accounts=accounts)
        with ExitStack() as running_nodes:
            folders = [data, *(self.folder / f"{prefix}{number}" for number in range(1, nodes))]
            pids = [running_nodes.enter_context(self.evento(prefix, partitions, folder))[1] for folder in folders]
            with machine.watched(self.folder, [*pids, self.broker_pid]) as seen:
                progress = topics.wait_committed(self.brokers, f"{prefix}evento", topic, partitions, count)
        return progress | used(seen, count)

    def _spread_run(self, partitions: int) -> Line:
        prefix, count = self.fresh("evento") + ".", self.options.commands
        with self.evento(prefix, partitions, self.folder / prefix) as (url, pid):
            self.deploy(url, ACCOUNTS)
            schemas, topic = topics.schemas(url), f"{prefix}bank.Checking.commands"
            with machine.watched(self.folder, [pid, self.broker_pid]) as seen:
                topics.fill_evento(self.brokers, topic, partitions, schemas, count=count, accounts=ACCOUNTS)
                progress = topics.wait_committed(self.brokers, f"{prefix}evento", topic, partitions, count)
        return progress | used(seen, count)

    def _processor_run(self, peer: str, accounts: int) -> Line:
        name, count = self.fresh(peer), self.options.commands
        topics.create(self.brokers, name, PARTITIONS)
        topics.fill(self.brokers, name, peer, count=count, accounts=accounts)
        data = self.folder / name
        with (
            self.processor(peer, name, data, COMMIT_S[peer]) as (_, pid),
            machine.watched(self.folder, [pid, self.broker_pid]) as seen,
        ):
            progress = topics.wait_committed(self.brokers, name, topics.commands(name), PARTITIONS, count)
        return progress | used(seen, count)

    # ------------------------------------------------------------ latency
    def latency(self) -> Iterator[Line]:
        """One client at a time: an HTTP request to its answered Outcome; of a processor, a record to its committed Event."""
        if "evento" in self.options.peers:
            prefix = self.fresh("evento") + "."
            with self.evento(prefix, PARTITIONS, self.folder / prefix) as (url, _):
                self.deploy(url, ACCOUNTS)
                load = ["http", "-url", f"{url}/v1/bank/Checking/{{id}}/{{command}}", "-s", str(self.options.seconds)]
                for clients in (1, 128):
                    yield {"case": f"latency, {clients} clients", "peer": "evento"} | peers.load([*load, "-c", str(clients)])
        for peer in self.options.peers:
            for commit_s in (COMMIT_S[peer], QUICK_COMMIT_S[peer]) if peer != "evento" else ():
                name = self.fresh(peer)
                topics.create(self.brokers, name, PARTITIONS)
                with self.processor(peer, name, self.folder / name, commit_s):
                    taken = topics.round_trips(self.brokers, name, peer, seconds=max(self.options.seconds, 5 * commit_s))
                yield {"case": f"latency, commits of {commit_s * 1000:g} ms", "peer": peer} | taken

    # ------------------------------------------------------------ restore
    def restore(self) -> Iterator[Line]:
        """All states of many instances, read back from the cluster by somebody who has nothing."""
        instances = self.options.instances
        for peer in self.options.peers:
            if peer == "evento":
                yield {"case": "restore", "peer": peer} | self._restored_evento(instances)
            else:
                yield {"case": "restore", "peer": peer} | self._restored(peer, instances)

    def _restored_evento(self, instances: int) -> Line:
        prefix = self.fresh("evento") + "."
        data = self.folder / prefix
        with self.evento(prefix, PARTITIONS, data) as (url, _):
            self.deploy(url, 1)
            base, _ = self._ready(self.fresh("evento") + ".")
            peers.load(["setup", "-n", str(instances), "-url", f"{url}/v1/commands"])
            time.sleep(COPY_S)
        shutil.rmtree(data)
        seconds, rss_mb = self._ready(prefix)
        rate = instances / max(0.001, seconds - base)
        return {"rate": rate, "seconds": seconds, "empty_s": base, "instances": instances, "rss_mb": rss_mb}

    def _ready(self, prefix: str) -> tuple[float, dict[str, int]]:
        """Return how long a node takes until it is ready, and the peak memory of its processes by then."""
        began = time.perf_counter()
        with self.evento(prefix, PARTITIONS, self.folder / prefix) as (_, pid):
            return time.perf_counter() - began, use_of([pid]).peak_mb

    def _restored(self, peer: str, instances: int) -> Line:
        name = self.fresh(peer)
        topics.create(self.brokers, name, PARTITIONS)
        topics.fill(self.brokers, name, peer, count=instances, accounts=0)
        data = self.folder / name
        with self.processor(peer, name, data, COMMIT_S[peer]):
            topics.wait_committed(self.brokers, name, topics.commands(name), PARTITIONS, instances)
        shutil.rmtree(data)
        began = time.perf_counter()
        with self.processor(peer, name, data, QUICK_COMMIT_S[peer]) as (output, _):
            topics.round_trips(self.brokers, name, peer, seconds=0)
            seconds = time.perf_counter() - began
            told = [line.split() for line in output.read_text().splitlines() if line.startswith("restored")]
        if told:
            return {"rate": int(told[-1][1]) / float(told[-1][2]), "seconds": float(told[-1][2]), "instances": instances}
        return {"rate": instances / seconds, "seconds": seconds, "instances": instances}


def used(seen: Line, count: int) -> Line:
    """Return what the run used; CPU time by Command."""
    return {**seen, "cpu_us": {name: round(seconds / count * 1e6, 1) for name, seconds in seen.pop("cpu_s", {}).items()}}


def install_streams() -> None:
    """Take Kafka Streams and compile its bank, unless that is done."""
    source, pom = PEERS / "streams/Bank.java", PEERS / "streams/pom.xml"
    done, content = STREAMS / "installed", source.read_text() + pom.read_text()
    if done.exists() and done.read_text() == content:
        return
    shutil.rmtree(STREAMS, ignore_errors=True)
    (STREAMS / "classes").mkdir(parents=True)
    maven = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={STREAMS}/libs"]
    subprocess.run(maven, check=True)
    subprocess.run(["javac", "-cp", f"{STREAMS}/libs/*", "-d", STREAMS / "classes", source], check=True)
    done.write_text(content)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(PEER_NAMES), help="peers, separated by commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of a run that has no end of its own")
    parser.add_argument("--commands", type=int, default=1_500_000, help="in a run of throughput")
    parser.add_argument("--instances", type=int, default=1_000_000, help="to be restored")
    parser.add_argument("--quick", action="store_true", help="one round, a tenth of everything: a look, not a result")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 3
        options.commands //= 5
        options.instances //= 10
    options.only, options.peers = options.only.split(","), options.peers.split(",")
    return options


def main() -> None:
    """Run what was asked for, and print a line for each result."""
    options = parse()
    install(python="quix" in options.peers, node=False)
    if "streams" in options.peers:
        install_streams()
    (CACHE / "data").mkdir(parents=True, exist_ok=True)
    results = BENCH / "results" / f"kafka-{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    results.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE / "data") as name, results.open("w") as file:
        folder = Path(name)
        print(json.dumps({"machine": machine.describe(folder), "options": vars(options)}), file=file, flush=True)
        with Cluster(1, folder=folder / "broker", warm=True) as broker:
            bench = Bench(broker, folder, options)
            sections: dict[str, Callable[[], Iterator[Line]]] = {name: getattr(bench, name) for name in SECTIONS}
            for number in range(1, options.rounds + 1):
                for section in options.only:
                    for line in sections[section]():
                        print(json.dumps(line | {"round": number}), file=file, flush=True)
                        print(topics.shown(line | {"round": number}), flush=True)
    print(results.relative_to(ROOT))


if __name__ == "__main__":
    main()
