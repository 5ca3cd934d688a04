"""Containers from none on and back, as many as Commands need, and from one version to the next: nothing is lost on the way."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evento.client import Client
from evento.model.resources import Scale
from tests.containers.engine import Engine
from tests.containers.platform import containers, manifests, metric, running
from tests.containers.running import Heard, contained, do, serving
from tests.faults.checker import History
from tests.faults.clients import Sender
from tests.faults.node import Node, eventually

Json = dict[str, Any]
PARTS_MAX = 40
KILLS = 6  # of containers, and between them of the platform


def versioned(engine: Engine, puppet: str, version: str, **env: str) -> str:
    """Return the puppet's image as another version, whose Commands tell it; made by the engine, as users make theirs."""
    name = f"localhost/evento-test/version-{version}:1"
    lines = [f"FROM {puppet}", f"ENV VERSION={version}", *(f"ENV {key}={value}" for key, value in env.items())]
    engine.build(name, *lines)
    return name


def failed(platform: Node) -> float:
    return metric(platform, "evento_commands_total", entity="puppet/Counter", outcome="failed")


def replicas(platform: Node) -> int:
    return int(metric(platform, "evento_function_replicas", function="puppet"))


async def send(client: Client, instance: str, order: str, *, wait_s: int = 60) -> Json:
    answer = await client.send(f"puppet/Counter/{instance}", "Do", {"order": order}, wait_s=wait_s)
    assert answer["outcome"] == "succeeded", answer
    return answer


async def history(client: Client, instance: str) -> list[str]:
    """Return what all events of an instance say; there are fewer than a thousand."""
    return [event["data"]["said"] for event in await all_events(client, instance)]


async def all_events(client: Client, instance: str) -> list[dict[str, Any]]:
    """Return all events of an instance: a fast machine makes more than a page holds."""
    events: list[dict[str, Any]] = []
    while page := (await client.events(f"puppet/Counter/{instance}", after=len(events), limit=1000))["events"]:
        events += page
    return events


async def test_more_calls_than_it_takes_start_more_and_idling_ends_them(engine: Engine, puppet: str, tmp_path: Path) -> None:
    heard, scale = Heard(), Scale(least=1, most=3, idle_s=1.0, concurrency=1)
    async with serving(engine, tmp_path, contained(puppet, scale=scale, timeout_s=60.0), heard) as client:
        await client.ready()
        places: set[str] = set()

        async def call_again_and_again(instance: str) -> None:
            while len(places) < 3:
                places.add(await do(client, "where", instance))
                await do(client, "work 0.1", instance)

        async with asyncio.timeout(180.0), asyncio.TaskGroup() as tasks:
            for number in range(9):
                tasks.create_task(call_again_and_again(f"i{number}"))
        assert heard.most == 3
        async with asyncio.timeout(180.0):
            while heard.ready > 1:  # noqa: ASYNC110 - it is told through a port that knows no waiting
                await asyncio.sleep(0.1)
        assert heard.causes == []
        assert await do(client) == "ok"
    assert heard.ready == 0


async def test_a_command_that_finds_no_container_waits_for_one_and_is_not_attempted_before(
    engine: Engine, puppet: str, tmp_path: Path
) -> None:
    """Catalogue 42: a cold start that takes longer than anybody waits for a call."""
    file = manifests(tmp_path, puppet, scale="{min: 0, max: 1, idle: 1s}", env={"MODE": "slow-start 1.5"})
    with running(engine) as platform:
        platform.deploy(file)
        async with Client(platform.url) as client:
            for turn in range(2):
                assert replicas(platform) == 0
                async with asyncio.TaskGroup() as tasks:  # all that come meanwhile wait for the same container
                    sent = [tasks.create_task(send(client, f"{turn}-{number % 4}", "where")) for number in range(20)]
                    started = time.monotonic()
                assert time.monotonic() - started > 1.5
                assert len({each.result()["events"][0]["data"]["said"] for each in sent}) == 1
                for _ in eventually("the container is ended for idling"):
                    if not replicas(platform):
                        break
                    await asyncio.sleep(0.05)
        assert failed(platform) == 0
        assert not metric(platform, "evento_function_calls_total", function="puppet", result="function-unavailable")


def orders(instances: str, count: int, pause: str, *, begin: int = 0) -> list[Json]:
    """Return Commands in turn for these instances, each of which says who it is."""
    return [
        {
            "entity": "puppet/Counter",
            "id": instance,
            "command": "Do",
            "data": {"order": f"{pause} {number}"},
            "command_id": f"{instance}-{number}",
        }
        for number in range(begin, begin + count)
        for instance in instances
    ]


async def check_all_there_in_order(client: Client, commands: list[Json]) -> None:
    for instance in {command["id"] for command in commands}:
        sent = [command["data"]["order"] for command in commands if command["id"] == instance]
        assert await history(client, instance) == sent


@asynccontextmanager
async def watching_replicas(platform: Node) -> AsyncIterator[list[int]]:
    """Note how many containers are ready, again and again."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(replicas, platform))
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield seen
        watching.cancel()


async def test_commands_of_one_instance_stay_in_order_whichever_container_serves_them(
    engine: Engine, puppet: str, tmp_path: Path
) -> None:
    scale = "{min: 0, max: 3, idle: 30s, concurrency: 1}"
    commands: list[Json] = []
    with running(engine) as platform:
        platform.deploy(manifests(tmp_path, puppet, scale=scale, timeout="60s"))
        async with watching_replicas(platform) as seen:
            for part in range(PARTS_MAX):  # until all containers have started, however long that takes
                more = orders("abcdefghijkl", 15, "work 0.02", begin=15 * part)
                await Sender(platform.url, History()).send_all(more)
                commands += more
                if max(seen, default=0) == 3:
                    break
        async with Client(platform.url) as client:
            await check_all_there_in_order(client, commands)
        assert max(seen) == 3 and failed(platform) == 0


async def test_containers_and_the_platform_killed_on_the_way_change_nothing(engine: Engine, puppet: str, tmp_path: Path) -> None:
    commands = orders("abcdef", 140, "work 0.003")
    retry = "{first: 20ms, cap: 100ms}"
    with running(engine) as platform:
        platform.deploy(manifests(tmp_path, puppet, scale="{max: 2, concurrency: 1}", retry=retry, timeout="30s"))
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(Sender(platform.url, History(), in_flight_max=60).send_all(commands))
            kills = 0
            while not sending.done():
                await asyncio.sleep(0.7)
                there = await asyncio.to_thread(containers, engine, platform)
                if there and kills < KILLS:
                    kills += 1
                    await asyncio.to_thread(engine.cli, "kill", there[kills % len(there)], insist=False)
                if kills == KILLS // 2:
                    await asyncio.to_thread(platform.restart)
                    kills += 1
        assert kills >= 3
        async with Client(platform.url) as client:
            await check_all_there_in_order(client, commands)
        platform.verify()


async def test_a_new_version_takes_over_when_it_is_ready_and_each_attempt_has_one_version(
    engine: Engine, puppet: str, tmp_path: Path
) -> None:
    """Catalogue 41: nothing fails, nothing is lost or doubled, no instance goes back."""
    images = {version: versioned(engine, puppet, version) for version in "12"}
    broken = versioned(engine, puppet, "3", MODE="exit")
    with running(engine) as platform:
        platform.deploy(manifests(tmp_path, images["1"], timeout="30s"))
        async with Client(platform.url) as client:
            sent, over = Counter[str](), asyncio.Event()

            async def keep_sending(instance: str) -> None:
                while not over.is_set():
                    await send(client, instance, "where")
                    sent[instance] += 1

            async def all_have_sent(more: int) -> None:
                """Return when each instance has been sent so many Commands more."""
                least = {instance: sent[instance] + more for instance in "abcdefgh"}
                async with asyncio.timeout(120):
                    while any(sent[instance] < count for instance, count in least.items()):  # noqa: ASYNC110  it takes long
                        await asyncio.sleep(0.05)

            async with asyncio.TaskGroup() as tasks:
                for instance in "abcdefgh":
                    tasks.create_task(keep_sending(instance))
                await all_have_sent(2)
                said = await asyncio.to_thread(platform.deploy, manifests(tmp_path, images["2"], timeout="30s"))
                assert "puppet" in said
                await all_have_sent(2)  # the first may have been under way
                said = await asyncio.to_thread(
                    platform.evento, "deploy", str(manifests(tmp_path, broken, timeout="30s")), "--yes", status=1
                )
                assert "the new version of function puppet/puppet does not get ready, and the one before goes on" in said
                assert "exited with status 7; its last output: this will not do" in said
                await all_have_sent(2)
                over.set()
            versions = {instance: [said.split()[1] for said in await history(client, instance)] for instance in "abcdefgh"}
            streams = [await all_events(client, instance) for instance in "abcdefgh"]
            catalog = await client.catalog()
        assert sent.total() == sum(map(len, versions.values())) and failed(platform) == 0
        assert {tuple(dict.fromkeys(each)) for each in versions.values()} == {("1", "2")}
        revisions = {event["revision"] for stream in streams for event in stream if event["data"]["said"].endswith("2")}
        assert len(revisions) == 1 and revisions.pop().startswith("sha256:")
        assert catalog["functions"][0]["image"] == images["2"]
        for _ in eventually("the container of the version before is ended"):
            if len(containers(engine, platform)) == 1:
                break
            await asyncio.sleep(0.2)


async def test_an_image_that_there_is_not_is_refused_when_it_is_deployed(engine: Engine, puppet: str, tmp_path: Path) -> None:
    with running(engine) as platform:
        file = manifests(tmp_path, "localhost/evento-test/nothing:1")
        said = await asyncio.to_thread(platform.evento, "deploy", str(file), "--yes", status=1)
        assert (
            "nothing was changed: function puppet/puppet: image localhost/evento-test/nothing:1 is not here and cannot be pulled: "
            in said
        )
        async with Client(platform.url) as client:
            assert (await client.catalog())["version"] == 0


async def test_a_batch_that_fails_as_a_whole_is_taken_apart_until_the_one_that_spoils_it_is_alone(
    engine: Engine, puppet: str, tmp_path: Path
) -> None:
    commands = orders("abcdefghijklmnopqrst", 1, "print")
    commands[7]["data"]["order"] = "crash"
    with running(engine) as platform:
        platform.deploy(manifests(tmp_path, puppet))
        async with Client(platform.url) as client:
            lines = ["".join(json.dumps(command) + "\n" for command in commands).encode()]

            async def at_once() -> AsyncIterator[bytes]:
                yield lines[0]

            answers = [answer async for answer in client.send_many(at_once(), wait_s=30)]
        outcomes = {answer["command_id"]: answer["outcome"] for answer in answers if isinstance(answer, dict)}
    assert outcomes == {command["command_id"]: "succeeded" for command in commands} | {"h-0": "parked"}
