"""A network between nodes and Kafka that breaks under load: nobody waits for ever, nothing is lost or doubled (reliability §7)."""

import asyncio
from pathlib import Path

from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.nodes import Roaming, running
from tests.faults.topics import check, standing
from tests.kafka.fixtures import Kafka
from tests.kafka.proxy import Kind, Proxy

ACCOUNTS = [f"account-{number}" for number in range(16)]
CUTS = 5
CUT_AFTER_S = 0.3
MENDED_S = 120.0  # it takes some 2 s


def deposits(what: str, count: int) -> list[Json]:
    return [
        bank.command(account, "ReceiveDeposit", {"amount": f"{number}.00"}, f"{what}-{number}")
        for number in range(1, count + 1)
        for account in ACCOUNTS
    ]


async def test_connections_cut_in_the_middle_of_commits_and_commits_that_come_late_do_no_harm(
    kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path
) -> None:
    history = History()
    starting = running(tmp_path, kafka_proxy.bootstrap, kafka.prefix, direct=kafka.bootstrap)
    nodes = await asyncio.to_thread(starting.__enter__)
    try:
        for number in range(CUTS):
            held = kafka_proxy.hold(Kind.END_TXN if number % 2 else Kind.PRODUCE, containing=kafka.prefix.encode())
            async with asyncio.timeout(MENDED_S), asyncio.TaskGroup() as tasks:
                for client in range(4):
                    urls = nodes.urls[client % 2 :] + nodes.urls[: client % 2]
                    commands = deposits(f"cut-{number}-{client}", 15)
                    tasks.create_task(Roaming(urls, history, in_flight_max=60).send_all(commands))
                await held.caught()
                await asyncio.sleep(CUT_AFTER_S)
                kafka_proxy.cut()
                await asyncio.sleep(CUT_AFTER_S)
                await held.release()  # whoever sent it has sent it again meanwhile
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in history.invoked.items()}
        finding = await asyncio.to_thread(check, nodes.deployment, sent, bank.fold)
        assert not finding.broken, finding.broken[:20]
        assert not await asyncio.to_thread(standing, nodes.deployment)
        await asyncio.to_thread(nodes.verify)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
