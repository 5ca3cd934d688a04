"""A Kafka cluster of real brokers (KRaft mode), each a JVM on free ports of this machine, and the faults to be put to them.

Nothing outlives the process that asked for it, or the process `owner`. Methods block: call them by a thread where a loop runs.
"""

import base64
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.properties import Ports, Security, properties, take_ports

ROOT = Path(__file__).parent.parent.parent
LIBS = ROOT / "build" / "kafka" / "libs"
READY_S = 180.0  # on a machine with much else to do
STOP_S = 120.0
HEAP = "-Xmx256m"
HEAP_OF_DEFAULTS = "-Xmx512m"  # a broker's cleaner of logs alone has 128 MB by default
Tell = Callable[[int, Sequence[Ports], Path], Mapping[str, str]]
_ASK_AGAIN_S = 0.1
_ANSWER_S = 5.0
_TAIL_LINES = 40
_TOOLS = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}
_LOG4J = """
status = error
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
"""


class BrokerFailed(Exception):
    """A broker did not start, or is not ready in time. The message ends with what it wrote last."""


class Broker:
    """One broker: its folder, its ports and, while it runs, its process."""

    def __init__(self, number: int, folder: Path, ports: Ports, command: Sequence[str], owner: int) -> None:
        self.number = number
        self.folder = folder
        self.ports = ports
        self.pid = 0
        self.started = False  # and nobody has ended it since
        self._command = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(owner), *command)
        self._guard: subprocess.Popen[str] | None = None

    @property
    def condition(self) -> str:
        """Return in words why it is not ready."""
        return "is not ready in time" if self.running else "ended"

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def launch(self) -> None:
        """Start the process, without waiting until it is ready."""
        assert not self.running
        with (self.folder / "output").open("ab") as output:
            self._guard = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as said:
            self.pid = int(said.readline() or "0")
        self.started = True

    def tell(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def end(self, how: signal.Signals) -> None:
        """Tell it to end."""
        self.started = False
        self.tell(how)

    def wait(self, timeout_s: float) -> None:
        """Wait until the process is gone."""
        if self._guard is not None:
            self._guard.wait(timeout_s)

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        lines = (self.folder / "output").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


class Cluster:
    """`nodes` brokers, ready when the context is entered, gone when it is left. Brokers are numbered from 1.

    `warm` lets the JVM compile as it does in production: slower to start, faster later. `owner` is the process that all of it ends
    with, this one if nothing is said. `more` are properties of all brokers, beside those that all tests have; `tell` gives the
    properties of a broker, by its number, all ports and its folder, instead of these.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        folder: Path,
        warm: bool = False,
        owner: int | None = None,
        security: Security | None = None,
        tell: Tell | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.security = security
        self._tell = tell or partial(properties, security=security)
        self._more = dict(more or {})
        self._jvm = ["java", HEAP_OF_DEFAULTS if tell else HEAP, "-XX:+UseSerialGC", *([] if warm else ["-XX:TieredStopAtLevel=1"])]
        ports = take_ports(nodes)
        self.brokers = [self._broker(number, ports, owner or os.getpid()) for number in range(1, nodes + 1)]
        self.bootstrap = ",".join(f"127.0.0.1:{each.clients}" for each in ports)

    @property
    def secure_bootstrap(self) -> str:
        """Return the address of the listener where clients must say who they are."""
        assert self.security is not None
        return f"127.0.0.1:{self.security.port}"

    def proxied(self, listener: int = 0) -> dict[int, int]:
        """Return the ports of one of the listeners behind a proxy: where each broker sends clients to, and where it listens."""
        return dict(broker.ports.proxied[listener] for broker in self.brokers)

    def listening_at(self, port: int) -> int:
        """Return the number of the broker that has a listener behind a proxy there."""
        return next(each.number for each in self.brokers if port in dict(each.ports.proxied).values())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Start all brokers and wait until they are ready. Raises BrokerFailed."""
        try:
            self._format()
            for broker in self.brokers:
                broker.launch()
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all brokers, the hard way: nobody reads what they hold any more."""
        for broker in self.brokers:
            broker.end(signal.SIGKILL)
        for broker in self.brokers:
            broker.wait(STOP_S)

    # ------------------------------------------------------------------ faults
    def kill(self, number: int) -> None:
        """End a broker as `kill -9` does."""
        self._signal_and_wait(number, signal.SIGKILL)

    def stop(self, number: int) -> None:
        """End a broker as an operator does: it hands its partitions over first."""
        self._signal_and_wait(number, signal.SIGTERM)

    def start(self, number: int, *, wait: bool = True) -> None:
        """Start a broker again, with what it had on its disk."""
        self.brokers[number - 1].launch()
        if wait:
            self.wait_until_ready()

    def pause(self, number: int) -> None:
        """Let a broker stand still, as a machine that swaps, or a virtual one that is moved, does."""
        self.brokers[number - 1].tell(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let a paused broker go on."""
        self.brokers[number - 1].tell(signal.SIGCONT)

    def mend(self) -> None:
        """Let all brokers run again, whatever was done to them, and wait until they are ready."""
        for broker in self.brokers:
            broker.tell(signal.SIGCONT)
            if not broker.running:
                broker.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until each broker that was started knows all of them. Raises BrokerFailed."""
        started = [broker for broker in self.brokers if broker.started]
        deadline = time.monotonic() + READY_S
        for broker in started:
            admin = AdminClient(quiet(f"127.0.0.1:{broker.ports.clients}"))
            while not _known_to(admin) >= {each.number for each in started}:
                if not broker.running or time.monotonic() > deadline:
                    raise BrokerFailed(f"broker {broker.number} {broker.condition}; it wrote:\n{broker.tail()}")
                time.sleep(_ASK_AGAIN_S)

    def _signal_and_wait(self, number: int, how: signal.Signals) -> None:
        broker = self.brokers[number - 1]
        broker.end(how)
        broker.wait(STOP_S)

    def _broker(self, number: int, ports: Sequence[Ports], owner: int) -> Broker:
        folder = self.folder / f"broker{number}"
        folder.mkdir(parents=True)
        said = {**self._tell(number, ports, folder), **self._more}
        (folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
        (folder / "log4j2.properties").write_text(_LOG4J)
        log4j = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
        command = [*self._jvm, log4j, "-cp", f"{LIBS}/*", "kafka.Kafka", str(folder / "server.properties")]
        return Broker(number, folder, ports[number - 1], command, owner)

    def _format(self) -> None:
        random = uuid.uuid4().bytes
        # Its first character must not be a dash: the tool would take it for an option.
        cluster_id = base64.urlsafe_b64encode(bytes([random[0] & 0x7F]) + random[1:]).decode().rstrip("=")
        for broker in self.brokers:
            config = str(broker.folder / "server.properties")
            command = [*self._jvm, "-cp", f"{LIBS}/*", "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", config]
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_S)
            if ended.returncode:
                raise BrokerFailed(f"the storage of broker {broker.number} cannot be made:\n{ended.stdout}{ended.stderr}")


def run_tool(command: str) -> str:
    """Run a command line of one of Kafka's own scripts (`kafka-acls.sh …`), by its class; return what it says."""
    script, *arguments = shlex.split(command)
    ended = subprocess.run(
        ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*", _TOOLS[script], *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=READY_S,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def quiet(bootstrap: str) -> dict[str, str | int]:
    """Return what a client is told that is silent about brokers it cannot reach, and soon asks another."""
    return {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "reconnect.backoff.max.ms": 200,
        "socket.timeout.ms": 10_000,
        "topic.metadata.refresh.interval.ms": 2000,
    }


def _known_to(admin: AdminClient) -> set[int]:
    try:
        return set(admin.list_topics(timeout=_ANSWER_S).brokers)
    except KafkaException:
        return set()
