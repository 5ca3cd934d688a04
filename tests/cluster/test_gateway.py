"""Any node takes any Command and answers any question, wherever the instance is, also while it moves."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from evento.cluster import gateway
from evento.errors import FunctionUnavailable
from evento.model.keys import EntityKey
from evento.registry.reading import read_deployment
from tests.cluster.members import SOURCE, WAIT_S, Cluster, Member, cluster_of, until

NAMES = [f"c{number}" for number in range(16)]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_of(tmp_path) as running:
        yield running


async def stream(cluster: Cluster, member: Member, lines: list[dict[str, object]]) -> list[dict[str, object]]:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    async with cluster.session.post(
        f"{member.url}/v1/commands", data=body, headers={"prefer": "wait=60", "content-type": "application/x-ndjson"}
    ) as response:
        return [json.loads(line) for line in (await response.read()).splitlines()]


def line(instance: str, by: int, command_id: str) -> dict[str, object]:
    return {"entity": "tests/Counter", "id": instance, "command": "Count", "data": {"by": by}, "command_id": command_id}


async def test_any_node_takes_any_command_and_tells_its_outcome(cluster: Cluster) -> None:
    for name in NAMES:
        for version, member in enumerate(cluster.members, 1):
            status, told = await cluster.count(member, name, 5, idempotency_key=f"{name}-{version}")
            assert (status, told["outcome"], told["version"], told["duplicate"]) == (200, "succeeded", version, False)
    owners = {turn.command.key.id for part in cluster.shared.parts for _, turn, _ in part.log}
    assert owners == set(NAMES)
    assert all(part.log for part in cluster.shared.parts)


async def test_a_refusal_is_the_same_through_any_node(cluster: Cluster) -> None:
    for name in NAMES[:8]:
        for member in cluster.members:
            await cluster.count(member, name, 1, idempotency_key=f"{name}-first")
            status, told = await cluster.count(member, name, -1)
            assert (status, told["outcome"]) == (422, "rejected")
            status, told = await cluster.count(member, name, 2, idempotency_key=f"{name}-first")
            assert (status, told["code"]) == (409, "id-reused")
            status, told = await cluster.count(member, name, 2, if_match='"77"')
            assert (status, told["code"], told["expected"]) == (412, "version-conflict", 77)


async def test_a_command_sent_again_through_another_node_is_a_duplicate(cluster: Cluster) -> None:
    first, second = cluster.members
    for name in NAMES:
        assert (await cluster.count(first, name, 3, idempotency_key="same"))[1]["duplicate"] is False
        status, told = await cluster.count(second, name, 3, idempotency_key="same")
        assert (status, told["version"], told["duplicate"]) == (200, 1, True)


async def test_whatever_is_read_is_read_through_any_node_as_soon_as_it_is_told(cluster: Cluster) -> None:
    for name in NAMES:
        for writer in cluster.members:
            _, told = await cluster.count(writer, name, 7, idempotency_key=writer.url[-5:].replace("/", ""))
            for reader in cluster.members:
                status, found = await cluster.get(reader, f"/v1/tests/Counter/{name}")
                assert (status, found["version"]) == (200, told["version"])
                _, history = await cluster.get(reader, f"/v1/tests/Counter/{name}/events")
                assert [event["version"] for event in history["events"]] == list(range(1, told["version"] + 1))
                _, outcome = await cluster.get(reader, f"/v1/tests/Counter/{name}/commands/{told['command_id']}")
                assert outcome["version"] == told["version"]
                assert (await cluster.get(reader, f"/v1/tests/Counter/{name}?version=99"))[0] == 404
    assert [(await cluster.get(reader, "/v1/tests/Counter/nobody"))[0] for reader in cluster.members] == [404, 404]


async def test_a_stream_through_one_node_keeps_the_order_of_every_instance(cluster: Cluster) -> None:
    lines = [line(NAMES[number % len(NAMES)], number + 1, f"s-{number}") for number in range(3000)]
    for number, told in enumerate(await stream(cluster, cluster.members[0], lines)):
        assert (told.get("command_id"), told.get("outcome"), told.get("duplicate")) == (f"s-{number}", "succeeded", False), told
        assert told["events"][0]["data"]["after"] == max(0, number + 1 - len(NAMES))


async def test_partitions_that_move_delay_commands_and_lose_double_and_reorder_none(cluster: Cluster) -> None:
    random = Random(7)
    moving = True

    async def move() -> None:
        while moving:
            number = random.randrange(4)
            cluster.shared.assign(random.choice(cluster.members).url, number)
            await asyncio.sleep(random.random() * 0.1)

    async def send(member: Member, prefix: str) -> None:
        for part in range(6):
            lines = [line(prefix + NAMES[at % len(NAMES)], part * 800 + at + 1, f"{prefix}-{part}-{at}") for at in range(800)]
            for number, told in enumerate(await stream(cluster, member, lines)):
                assert (told["outcome"], told["duplicate"]) == ("succeeded", False), told
                assert told["events"][0]["data"]["after"] == max(0, part * 800 + number + 1 - len(NAMES)), told

    async def singles(member: Member) -> None:
        for number in range(400):
            status, told = await cluster.count(member, f"single{number % 7}", 1)
            assert (status, told["duplicate"]) == (200, False), told

    async with asyncio.TaskGroup() as tasks:
        moves = tasks.create_task(move())
        async with asyncio.TaskGroup() as clients:
            for member in cluster.members:
                clients.create_task(send(member, "ab"[cluster.members.index(member)]))
                clients.create_task(singles(member))
        moving = False
        await moves
    ids = [(turn.command.key, turn.command.id) for turn in cluster.shared.turns()]
    assert len(ids) == len(set(ids)) == 2 * (6 * 800 + 400)


async def test_an_owner_lost_after_its_commit_and_before_its_answer_loses_no_answer(cluster: Cluster) -> None:
    first, second = cluster.members
    name = owned_by(cluster, second)[0]
    cluster.shared.silent.add(second.url)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(cluster.count(first, name, 1, idempotency_key="k", prefer="wait=60"))
        await cluster.shared.committed.wait()
        lost = tasks.create_task(second.lose())
        cluster.shared.assign(first.url, *range(4))
        status, told = await sending
        await lost
    assert (status, told["version"], told["duplicate"]) == (200, 1, False)
    assert (await cluster.count(first, name, 1, idempotency_key="k"))[1]["duplicate"] is True
    assert len(cluster.shared.turns()) == 1


async def test_a_node_that_stops_hands_over_and_its_clients_notice_nothing(cluster: Cluster) -> None:
    first, second = cluster.members
    lines = [line(NAMES[number % len(NAMES)], number + 1, f"s-{number}") for number in range(4000)]
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stream(cluster, first, lines))
        await asyncio.sleep(0.2)
        stopping = tasks.create_task(second.stop())
        cluster.shared.assign(first.url, *range(4))
        for number, told in enumerate(await sending):
            assert (told["outcome"], told["duplicate"]) == ("succeeded", False), told
            assert told["events"][0]["data"]["after"] == max(0, number + 1 - len(NAMES))
        await stopping
    assert len(cluster.shared.turns()) == 4000


async def test_a_command_waits_for_an_owner_and_is_refused_when_there_is_none_in_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cluster.members
    monkeypatch.setattr(gateway, "GRACE_S", 0.3)
    name = owned_by(cluster, second)[0]
    cluster.shared.assign("", *range(4))
    await until(lambda: not cluster.shared.owners)
    status, told = await cluster.count(first, name, 1, idempotency_key="k", prefer="wait=0")
    assert (status, told["code"]) == (503, "not-ready")
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(cluster.count(first, name, 1, idempotency_key="k", prefer="wait=60"))
        await asyncio.sleep(0.3)
        assert not sending.done()
        cluster.shared.assign(second.url, *range(4))
        status, told = await sending
    assert (status, told["duplicate"]) == (200, False)


async def test_who_waits_for_an_owner_waits_in_a_bounded_place(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = cluster.members
    monkeypatch.setattr(gateway, "HELD_COMMANDS_MAX", 5)
    cluster.shared.assign("", *range(4))
    await until(lambda: not cluster.shared.owners)
    async with asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(cluster.count(first, name, 1, prefer="wait=60")) for name in NAMES]
        streamed = tasks.create_task(stream(cluster, first, [line(name, 2, f"s-{name}") for name in NAMES]))
        await until(lambda: sum(each.done() for each in held) >= len(NAMES) - 5)
        assert {each.result()[1]["code"] for each in held if each.done()} == {"overloaded"}
        assert not streamed.done()
        cluster.shared.assign(first.url, *range(4))
        assert [told for told in await streamed if told.get("outcome") != "succeeded"] == []  # a stream waits for room
    assert [each.result()[0] for each in held].count(200) == 5


async def test_lists_have_what_all_nodes_have_page_by_page(cluster: Cluster) -> None:
    for name in NAMES:
        await cluster.count(cluster.members[0], name, 1)
        await cluster.post(cluster.members[1], f"/v1/tests/Counter/{name}/Fail", {"reason": "no"}, prefer="respond-async")
    for member in cluster.members:
        for limit in (1, 5, 100):
            assert await pages(cluster, member, "/v1/tests/Counter?", "instances", limit) == sorted(NAMES)
            assert sorted(await pages(cluster, member, "/v1/pending?", "pending", limit)) == sorted(NAMES)


async def test_no_two_partitions_give_a_pending_command_the_same_number(cluster: Cluster) -> None:
    for name in NAMES * 3:
        await cluster.post(cluster.members[0], f"/v1/tests/Counter/{name}/Fail", {"reason": "no"}, prefer="respond-async")
    for part, memory in enumerate(cluster.shared.parts):
        numbers = list(memory.waiting)
        assert numbers and {number % len(cluster.shared.parts) for number in numbers} == {part}


async def pages(cluster: Cluster, member: Member, path: str, what: str, limit: int) -> list[object]:
    found: list[object] = []
    after: object = None
    while True:
        _, page = await cluster.get(member, f"{path}limit={limit}" + (f"&after={after}" if after is not None else ""))
        found += [each["id"] for each in page[what]]
        after = page["next"]
        if after is None:
            return found


async def test_an_operator_retries_and_discards_at_any_node(cluster: Cluster) -> None:
    for name in NAMES[:6]:
        for member, other in (cluster.members, cluster.members[::-1]):
            command_id = f"f{cluster.members.index(member)}"
            fail, command = f"/v1/tests/Counter/{name}/Fail", f"/v1/tests/Counter/{name}/commands/{command_id}"
            status, told = await cluster.post(member, fail, {"reason": "no"}, idempotency_key=command_id, prefer="wait=0")
            assert (status, told["outcome"]) == (202, "pending")
            assert (await cluster.post(other, f"{command}/retry"))[0] == 204
            assert (await cluster.post(other, f"{command}/discard"))[0] == 204
            assert (await cluster.get(member, command))[1]["outcome"] == "discarded"
            assert (await cluster.post(member, f"{command}x/discard"))[0] == 404


async def test_what_stands_behind_a_refused_command_in_its_stream_is_refused_until_that_comes_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cluster.members
    assert second.node is not None
    name, other = owned_by(cluster, second)[0], owned_by(cluster, first)[0]
    number = second.node.journal.partition_of(EntityKey("tests", "Counter", name))
    sent: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()
    answered: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def lines() -> AsyncIterator[bytes]:
        while (each := await sent.get()) is not None:
            yield json.dumps(each).encode() + b"\n"

    async def converse() -> None:
        headers = {"prefer": "wait=1", "content-type": "application/x-ndjson"}
        async with cluster.session.post(f"{first.url}/v1/commands", data=lines(), headers=headers) as response:
            async for told in response.content:
                answered.put_nowait(json.loads(told))

    async def put(instance: str, command_id: str) -> dict[str, object]:
        sent.put_nowait(line(instance, 1, command_id))
        async with asyncio.timeout(WAIT_S):
            return await answered.get()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(converse())
        assert (await put(name, "one"))["outcome"] == "succeeded"
        cluster.shared.assign("nobody", number)
        await until(lambda: number not in cluster.shared.owners)
        with monkeypatch.context() as impatient:
            impatient.setattr(gateway, "GRACE_S", 0.1)
            refused = await put(name, "two")
        assert refused["code"] in ("not-ready", "unreachable")
        cluster.shared.assign(second.url, number)
        await cluster.owned({number: second})
        behind = await put(name, "three")
        assert (behind["status"], behind["code"], behind["predecessor"]) == (503, "predecessor-refused", "two")
        assert (await put(other, "other"))["outcome"] == "succeeded", "other instances go on"
        for command_id in ("two", "three", "four"):
            assert (await put(name, command_id))["outcome"] == "succeeded"
        sent.put_nowait(None)
    _, history = await cluster.get(first, f"/v1/tests/Counter/{name}/events")
    assert [event["command_id"] for event in history["events"]] == ["one", "two", "three", "four"]


def declared(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    """Return a manifest."""
    return {"apiVersion": "evento.dev/v1", "kind": kind, "metadata": {"name": name, "namespace": "tests"}, "spec": spec}


async def test_what_one_node_deploys_is_in_force_on_all(cluster: Cluster) -> None:
    first, second = cluster.members
    schema = {"type": "record", "name": "Reset", "namespace": "tests", "fields": [{"name": "to", "type": "long"}]}
    elsewhere = {"url": "http://127.0.0.1:9"}  # nobody answers there: what was deployed is seen, not executed
    documents = [
        declared("Function", "elsewhere", elsewhere),
        declared("Command", "Reset", {"entity": "Counter", "schema": schema, "events": ["Counted"], "handle": "elsewhere"}),
    ]
    assert first.node is not None and second.node is not None
    status, told = await cluster.post(second, "/v1/deployments", documents)
    assert (status, told["committed"]) == (200, True), told
    assert first.node.catalog.version == second.node.catalog.version == told["version"]
    status, told = await cluster.post(first, "/v1/tests/Counter/c1/Reset", {"to": 1}, prefer="wait=0")
    assert status == 202, told


async def test_a_node_learns_by_itself_what_another_deployed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = (member.node for member in cluster.members)
    assert first is not None and second is not None and second.gateway is not None

    async def nobody_is_told() -> None:
        pass

    monkeypatch.setattr(second.gateway.asking, "refresh", nobody_is_told)
    before = first.catalog.version
    changed = tmp_path / SOURCE.name
    changed.write_text(SOURCE.read_text().replace("last: int = 0", "last: int = 0\n    more: int = 0"))
    await second.deploy_documents(await asyncio.to_thread(read_deployment, [str(changed)]))
    assert second.catalog.version == before + 1
    await until(lambda: first.catalog.version > before)


async def test_a_node_that_stays_with_an_older_catalog_is_not_ready_and_says_why(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = cluster.members
    assert first.node is not None and second.node is not None
    follow = first.node.fleet.follow

    async def cannot(*_: object) -> None:
        raise FunctionUnavailable("there is no container engine here")

    monkeypatch.setattr(first.node.fleet, "follow", cannot)
    changed = tmp_path / SOURCE.name
    changed.write_text(SOURCE.read_text().replace("last: int = 0", "last: int = 0\n    more: int = 0"))
    await second.node.deploy_documents(await asyncio.to_thread(read_deployment, [str(changed)]))
    newest = second.node.catalog.version
    await until(lambda: all(member.node is not None and member.node.engine.open for member in cluster.members))
    async with cluster.session.get(f"{first.url}/readyz") as response:
        assert response.status == 503
        assert await response.text() == (
            f"catalog version {newest} cannot be put in force here, and version {newest - 1} is: "
            "there is no container engine here\n"
        )
    _, health = await cluster.get(first, "/healthz")
    assert (health["ready"], health["catalog_version"]) == (False, newest - 1)
    for name in NAMES:  # what its partitions are sent goes on
        assert (await cluster.count(second, name, 1))[0] == 200
    async with cluster.session.get(f"{second.url}/readyz") as response:
        assert response.status == 200
    monkeypatch.setattr(first.node.fleet, "follow", follow)
    await until(lambda: first.node is not None and first.node.operations.status().ready)
    assert first.node.catalog.version == newest


async def test_what_is_written_with_a_schema_that_a_node_has_not_heard_of_is_told_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("evento.bootstrap._FOLLOW_S", 60.0)
    async with cluster_of(tmp_path) as cluster:
        first, second = (member.node for member in cluster.members)
        assert first is not None and second is not None and second.gateway is not None

        async def nobody_is_told() -> None:
            pass

        monkeypatch.setattr(second.gateway.asking, "refresh", nobody_is_told)
        changed = tmp_path / SOURCE.name
        text = SOURCE.read_text().replace("    after: int\n", '    after: int\n    note: str = "new"\n')
        changed.write_text(text.replace("last: int = 0", "last: int = 0\n    more: int = 7"))
        name, *_, other = owned_by(cluster, cluster.members[1])
        await second.deploy_documents(await asyncio.to_thread(read_deployment, [str(changed)]))
        assert first.catalog.version < second.catalog.version
        status, told = await cluster.count(cluster.members[0], name, 1)
        assert (status, told["events"][0]["data"]["note"]) == (200, "new")
        assert first.catalog.version == second.catalog.version
        # Of another size: what Python has compiled of a file it takes again if time, in seconds, and size are the same.
        changed.write_text(text.replace("last: int = 0", "last: int = 0\n    less: int = 80"))
        await cluster.count(cluster.members[1], other, 1)
        await second.deploy_documents(await asyncio.to_thread(read_deployment, [str(changed)]))
        assert (await cluster.get(cluster.members[0], f"/v1/tests/Counter/{other}"))[1]["state"]["less"] == 80


async def test_each_node_says_where_the_partitions_are(cluster: Cluster) -> None:
    first, second = cluster.members
    async with asyncio.timeout(WAIT_S):
        while True:
            seen = [(await cluster.get(member, "/healthz"))[1] for member in cluster.members]
            if all(part["node"] for status in seen for part in status["partitions"]):
                break
    for member, status in zip(cluster.members, seen, strict=True):
        assert status["node"] == member.url
        assert [part["node"] for part in status["partitions"]] == [first.url, second.url] * 2


def owned_by(cluster: Cluster, member: Member) -> list[str]:
    assert member.node is not None
    journal = member.node.journal
    return [
        name for name in NAMES if cluster.shared.owners[journal.partition_of(EntityKey("tests", "Counter", name))] == member.url
    ]
