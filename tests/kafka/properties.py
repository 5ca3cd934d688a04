"""What a broker for tests is told: its ports, its place in the cluster, and times short enough for tests of failure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import BROKERS, free_port

PROXIED_PORTS = 4  # listeners of each broker that say to be somewhere else: at a proxy


@dataclass(frozen=True)
class Ports:
    """The ports of one broker. `proxied` are pairs: where clients are sent to, and where the broker itself listens for them."""

    clients: int
    controller: int
    proxied: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Security:
    """A further listener, for clients that must say who they are. `properties` are the broker's own about it."""

    protocol: str
    port: int
    properties: Mapping[str, str] = field(default_factory=dict)


def take_ports(nodes: int) -> list[Ports]:
    """Return the ports of so many brokers."""
    each = 2 + 2 * PROXIED_PORTS
    ports = [free_port(BROKERS) for _ in range(nodes * each)]
    taken = [ports[at : at + each] for at in range(0, len(ports), each)]
    return [Ports(mine[0], mine[1], tuple(zip(mine[2::2], mine[3::2], strict=True))) for mine in taken]


def properties(number: int, ports: Sequence[Ports], folder: Path, security: Security | None = None) -> dict[str, str]:
    """Return the properties of broker `number`, from 1, of a cluster with these ports."""
    mine, copies = ports[number - 1], min(3, len(ports))
    own = security and number == 1 and {"SECURE": security.port}
    listening = {"PLAIN": mine.clients, **{f"PROXIED{n}": port for n, (_, port) in enumerate(mine.proxied)}, **(own or {})}
    advertised = {"PLAIN": mine.clients, **{f"PROXIED{n}": port for n, (port, _) in enumerate(mine.proxied)}, **(own or {})}
    protocols = {name: security.protocol if security and name == "SECURE" else "PLAINTEXT" for name in (*listening, "CONTROLLER")}
    return {
        "node.id": str(number),
        "process.roles": "broker,controller",
        "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{each.controller}" for n, each in enumerate(ports, 1)),
        "controller.listener.names": "CONTROLLER",
        "listeners": _addresses({**listening, "CONTROLLER": mine.controller}),
        "advertised.listeners": _addresses(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": "PLAIN",
        "log.dirs": str(folder / "log"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": str(copies),
        "offsets.topic.num.partitions": str(len(ports)),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(max(1, copies - 1)),
        "transaction.state.log.num.partitions": str(len(ports)),
        **_SHORT_TIMES,
        **_SMALL,
        **(security.properties if security else {}),
    }


_SHORT_TIMES = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # until a broker that is killed or paused is given up
    "log.segment.delete.delay.ms": "1000",  # a topic that is deleted is gone from the disk and the memory
    "log.cleaner.backoff.ms": "1000",
}
# Tests make many small topics on two cores and with a heap of 256 MB.
_SMALL = {
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.index.size.max.bytes": str(1024 * 1024),
    "num.network.threads": "1",
    "num.io.threads": "4",
    "background.threads": "2",
}


def _addresses(listening: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listening.items())
