"""Images from a registry that runs: pulled when deployed, pinned, fetched again by digest; and each way in which that fails."""

import asyncio
import base64
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from evento.errors import FunctionUnavailable
from evento.functions.registries import Registries
from evento.model.resources import FunctionSpec, Pinned
from tests.containers import registry as registries
from tests.containers.engine import Engine
from tests.containers.platform import manifests, metric, running
from tests.containers.registry import PASSWORD, USER, Registry
from tests.containers.running import ask, contained, do, runtime
from tests.faults.node import eventually

LOGGER = "evento.functions.images"
WRONG = "wrong-secret-of-joe"


@pytest.fixture(scope="module")
def open_one(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Give a registry that everybody may read."""
    if reason := registries.why_not():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with Registry(tmp_path_factory.mktemp("open"), engine.registries[0]).serving() as running:
        yield running


@pytest.fixture(scope="module")
def closed_one(engine: Engine, open_one: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Give a registry with the same images that asks for a password."""
    made = Registry(tmp_path_factory.mktemp("closed"), engine.registries[1], images=open_one.images, closed=True)
    with made.serving() as running:
        yield running


def versions(engine: Engine, puppet: str, registry: Registry, name: str) -> Iterator[str]:
    """Push the puppet under one name, at each step as another version; the engine has none of them."""
    for version in "12":
        local = f"localhost/evento-test/{name}-{version}"
        engine.build(local, f"FROM {puppet}", f"ENV VERSION={version} NAME={name}")
        reference = registry.put(engine, local, f"team/{name}:1")
        engine.cli("rmi", local)
        yield reference


async def version_of(client: Any) -> str:
    """Return which version of the puppet serves."""
    return (await do(client, "where")).split()[1]


def forget(engine: Engine, image_id: str) -> None:
    """Remove an image with all its names."""
    engine.cli("rmi", "--force", image_id.removeprefix("sha256:"))


async def test_what_is_not_here_is_pulled_pinned_and_fetched_again_by_its_digest(
    engine: Engine,
    puppet: str,
    open_one: Registry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evento.functions.images.TOLD_EVERY_S", 0.0)
    pushed = versions(engine, puppet, open_one, "moving")
    image = next(pushed)
    async with runtime(engine, tmp_path) as containers:
        with caplog.at_level(logging.INFO, LOGGER):
            first = await containers.pin(contained(image))
        said = [record.getMessage() for record in caplog.records if record.name == LOGGER]
        assert said[0] == f"pulling image {image}" and re.fullmatch(f"pulled image {image} in [0-9.]+ s", said[-1])
        assert any(re.search(r"\d+ of \d+ parts are here", line) for line in said)
        assert re.fullmatch("sha256:[0-9a-f]{64}", first.revision) and len(first.digests) == 1
        function = contained(image, revision=first.revision)
        async with containers.serve(function) as client:
            await client.ready()
            assert await version_of(client) == "1"

        assert next(pushed) == image  # the name is moved in the registry
        engine.cli("tag", first.revision.removeprefix("sha256:"), image)  # and here it is not
        assert await containers.pin(contained(image)) == first, "it is here, and was not to be pulled"
        second = await containers.pin(contained(image, pull_always=True))
        assert second.revision != first.revision and second.digests != first.digests
        forget(engine, first.revision)
        for pinned, version in ((first, "1"), (second, "2")):
            async with containers.serve(contained(image, revision=pinned.revision, digests=pinned.digests)) as client:
                await client.ready()
                assert await version_of(client) == version and client.revision == pinned.revision
        for pinned in (first, second):
            forget(engine, pinned.revision)


async def test_an_image_named_by_its_digest_has_that_as_its_revision(
    engine: Engine, puppet: str, open_one: Registry, tmp_path: Path
) -> None:
    image = next(versions(engine, puppet, open_one, "digested"))
    async with runtime(engine, tmp_path) as containers:
        pinned = await containers.pin(contained(image))
        forget(engine, pinned.revision)
        (digest,) = pinned.digests
        named = f"{image.rpartition(':')[0]}@{digest}"
        for _ in "ab":  # it is pulled, and it is here
            assert await containers.pin(contained(named, pull_always=True)) == Pinned(digest)
        async with containers.serve(contained(named, revision=digest)) as client:
            await client.ready()
            assert (await ask(client, "who"))["revision"] == client.revision == digest
    forget(engine, pinned.revision)


async def test_each_reason_why_an_image_is_not_pulled_has_its_name(
    engine: Engine, puppet: str, open_one: Registry, closed_one: Registry, tmp_path: Path
) -> None:
    private = closed_one.address + "/" + next(versions(engine, puppet, open_one, "private")).partition("/")[2]
    reasons = {
        f"{open_one.address}/team/nothing:1": "its registry has no such image",
        f"{open_one.address}/team/private:0": "its registry has no such image",
        f"{open_one.address}/team/private@sha256:{'1' * 64}": "its registry has no such image",
        "127.0.0.1:1/team/private:1": "its registry cannot be reached",
        private: r"its registry lets nobody in with these credentials, or has no such image \(setting registry_auth\)",
    }
    async with runtime(engine, tmp_path) as containers:
        for image, reason in reasons.items():
            with pytest.raises(FunctionUnavailable, match=f"^image {image} is not here and cannot be pulled: {reason}: "):
                await containers.pin(contained(image))


def login(file: Path, address: str, *, user: str = USER, password: str = PASSWORD) -> Registries:
    """Write what `podman login` writes."""
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {"other.example.com": {"auth": "eDp5"}, address: {"auth": secret}}}))
    return Registries(file)


async def test_a_registry_that_asks_for_a_password_is_told_the_one_in_the_file_and_nobody_else_is(
    engine: Engine, puppet: str, open_one: Registry, closed_one: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = closed_one.address + "/" + next(versions(engine, puppet, open_one, "guarded")).partition("/")[2]
    file = tmp_path / "auth.json"
    with caplog.at_level(logging.DEBUG):
        async with runtime(engine, tmp_path, registries=login(file, closed_one.address, password=WRONG)) as containers:
            with pytest.raises(FunctionUnavailable, match="lets nobody in with these credentials") as refused:
                await containers.pin(contained(image))
            login(file, closed_one.address)  # what is rotated counts at once
            pinned = await containers.pin(contained(image))
            async with containers.serve(contained(image, revision=pinned.revision)) as client:
                await client.ready()
            forget(engine, pinned.revision)
            async with containers.serve(contained(image, revision=pinned.revision, digests=pinned.digests)) as client:
                await client.ready()
                assert await version_of(client) == "1"
    secrets = (PASSWORD, WRONG, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
    assert not [secret for secret in secrets if secret in caplog.text + str(refused.value)]
    forget(engine, pinned.revision)


async def test_a_registry_that_never_answers_is_given_up(
    engine: Engine, open_one: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evento.functions.images.PULL_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"127.0.0.1:{silent.getsockname()[1]}/team/any:1"
        async with runtime(engine, tmp_path) as containers:
            function = FunctionSpec("test", "any", image=image, revision=f"sha256:{'2' * 64}", digests=(f"sha256:{'3' * 64}",))
            async with asyncio.timeout(90.0):
                with pytest.raises(FunctionUnavailable, match=r"did not answer within 1 s: pull "):
                    await containers.pin(contained(image))
                async with containers.serve(function) as client:
                    with pytest.raises(FunctionUnavailable, match=r"which the container engine does not have: .* within 1 s"):
                        await client.ready()


async def test_a_registry_that_is_down_costs_no_attempt_and_commands_go_on_when_it_is_back(
    engine: Engine, puppet: str, open_one: Registry, tmp_path: Path
) -> None:
    image = next(versions(engine, puppet, open_one, "away"))
    file = manifests(tmp_path, image, timeout="20s")
    with running(engine) as platform:
        open_one.stop()
        said = await asyncio.to_thread(platform.evento, "deploy", str(file), "--yes", status=1)
        assert f"nothing was changed: function puppet/puppet: image {image} is not here" in said
        assert "its registry cannot be reached" in said
        open_one.start()
        platform.deploy(file)
        async with Client(platform.url) as client:
            assert (await client.send("puppet/Counter/a", "Do", {"order": "ok"}, wait_s=60))["outcome"] == "succeeded"
            revision = (await client.events("puppet/Counter/a"))["events"][0]["revision"]
            assert "nothing to change" in await asyncio.to_thread(platform.evento, "deploy", str(file), "--yes")
        platform.stop()
        forget(engine, revision)
        open_one.stop()
        platform.start()
        async with Client(platform.url) as client:
            answer = await client.send("puppet/Counter/a", "Do", {"order": "ok"}, wait_s=3)
            assert answer["outcome"] == "pending" and not answer.get("attempts"), answer
            why = f"image {image} was deployed as {revision}, which the container engine does not have: "
            for _ in eventually("it is said why"):
                (function,) = (await client.status())["functions"]
                if why in (function.get("message") or ""):
                    break
                await asyncio.sleep(0.1)
            assert "its registry cannot be reached" in function["message"] and why in platform.log()
            open_one.start()
            for _ in eventually("the Command is done"):
                answer = await client.outcome("puppet/Counter/a", answer["command_id"])
                if answer["outcome"] == "succeeded":
                    break
                await asyncio.sleep(0.2)
            events = (await client.events("puppet/Counter/a"))["events"]
        assert [event["revision"] for event in events] == [revision] * 2
        assert not metric(platform, "evento_commands_total", entity="puppet/Counter", outcome="failed")
    forget(engine, revision)
