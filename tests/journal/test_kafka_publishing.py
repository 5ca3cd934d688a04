"""Publishing schemas to a registry that somebody else runs, over HTTP, against something that stands for one."""

import base64
import json
from collections.abc import AsyncIterator

import pytest

from evento.errors import RegistryRefused, SettingsError
from evento.journal.kafka.publishing import publish_schemas
from evento.journal.memory import MemoryJournal
from evento.protocol.reserved import OUTCOME_ID, reserved_schemas
from evento.registry.deployment import Registry
from evento.registry.documents import documents_of
from evento.registry.subjects import Subjects
from evento.schema.registered import RegisteredSchema
from tests.journal.registry_stand_in import StandIn, stand_in

FIRST = RegisteredSchema("bank.Checking.events-value", 1, 4, '{"type":"record","name":"A","fields":[]}')
SECOND = RegisteredSchema("bank.Checking.events-value", 2, 7, '{"type":"record","name":"B","fields":[]}')
OTHER = RegisteredSchema("bank.Checking.state-value", 1, 5, '{"type":"record","name":"C","fields":[]}')


@pytest.fixture
async def registry() -> AsyncIterator[StandIn]:
    async with stand_in() as running:
        yield running


async def test_every_version_is_registered_under_its_id_and_again_nothing_is(registry: StandIn) -> None:
    assert await publish_schemas(registry.url, [FIRST, SECOND, OTHER]) == 3
    assert registry.subjects == {FIRST.subject: {1: (4, FIRST.text), 2: (7, SECOND.text)}, OTHER.subject: {1: (5, OTHER.text)}}
    assert set(registry.modes.values()) == {"IMPORT"}
    registry.asked.clear()
    assert await publish_schemas(registry.url, [FIRST, SECOND, OTHER]) == 0
    assert registry.written == []


async def test_a_later_version_is_added(registry: StandIn) -> None:
    assert await publish_schemas(registry.url + "/", [FIRST]) == 1
    registry.modes_are_fixed = True
    assert await publish_schemas(registry.url, [FIRST, SECOND]) == 1
    assert registry.subjects[FIRST.subject][2] == (7, SECOND.text)


async def test_the_same_schema_with_other_blanks_is_the_same(registry: StandIn) -> None:
    registry.subjects[FIRST.subject] = {1: (4, json.dumps(json.loads(FIRST.text), indent=2))}
    assert await publish_schemas(registry.url, [FIRST]) == 0


async def test_what_a_catalog_has_is_published_with_evento_s_own_schemas(registry: StandIn) -> None:
    catalog = Registry(MemoryJournal())
    record = {"type": "record", "name": "Jar", "namespace": "kitchen", "fields": []}
    entity = {"apiVersion": "evento.dev/v1", "kind": "Entity", "metadata": {"name": "Jar", "namespace": "kitchen"}}
    function = {"apiVersion": "evento.dev/v1", "kind": "Function", "metadata": {"name": "f", "namespace": "kitchen"}}
    documents = [entity | {"spec": {"schema": record, "apply": "f"}}, function | {"spec": {"url": "http://127.0.0.1:1"}}]
    await catalog.commit(catalog.plan(documents_of(documents)))
    assert await publish_schemas(registry.url, Subjects(catalog.catalog.contents, "test.").of_topics()) == 2
    assert {
        (subject, version, number) for subject, found in registry.subjects.items() for version, (number, _) in found.items()
    } == {
        ("test.kitchen.Jar.state-value", 1, 1),
        ("test.evento.outcomes-value", 1, OUTCOME_ID),
    }
    assert registry.subjects["test.evento.outcomes-value"][1][1] == reserved_schemas()[OUTCOME_ID]


# ------------------------------------------------------------------ refusals
async def refused(url: str, *schemas: RegisteredSchema) -> str:
    with pytest.raises(RegistryRefused) as error:
        await publish_schemas(url, schemas)
    return error.value.message


async def test_a_registry_whose_mode_cannot_be_changed_is_told_with_what_to_do(registry: StandIn) -> None:
    registry.modes_are_fixed = True
    message = await refused(registry.url, FIRST)
    assert "mode IMPORT" in message
    assert f"PUT /mode/{FIRST.subject}" in message
    assert "Mode changes are not allowed" in message
    assert registry.subjects == {}


async def test_a_subject_that_somebody_else_filled_is_left_as_it_is(registry: StandIn) -> None:
    registry.subjects[FIRST.subject] = {1: (99, FIRST.text)}
    assert "id 99" in await refused(registry.url, FIRST, SECOND)
    registry.subjects[FIRST.subject] = {1: (4, SECOND.text)}
    assert "another schema" in await refused(registry.url, FIRST, SECOND)
    assert registry.written == []


async def test_an_id_that_is_another_schema_s_is_told(registry: StandIn) -> None:
    registry.subjects["theirs"] = {1: (4, SECOND.text)}
    assert "id 4" in await refused(registry.url, FIRST)


async def test_a_registry_that_does_not_answer_or_is_none_is_told(registry: StandIn) -> None:
    assert "does not answer" in await refused("http://127.0.0.1:1", FIRST)
    assert "does not" in await refused(registry.url.replace("/sr", "/nothing"), FIRST)
    registry.subjects[FIRST.subject] = {number: (number, "x" * 200) for number in range(300_000)}
    assert "more than" in await refused(registry.url, FIRST)


@pytest.mark.parametrize("url", ["", "registry:8081", "ftp://user:hush@h", "http://", "http://user:hush@h:x", "http://[user:hush"])
async def test_what_is_no_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as error:
        await publish_schemas(url, [FIRST])
    assert "hush" not in str(error.value) + repr(error.value.details)


async def test_a_password_is_sent_and_never_shown(registry: StandIn) -> None:
    url = registry.url.replace("http://", "http://ada:h%40%C3%9F@")
    registry.modes_are_fixed = True
    message = await refused(url, FIRST)
    assert registry.authorization == {"Basic " + base64.b64encode("ada:h@ß".encode()).decode()}
    assert "ada" not in message
    assert "%C3" not in message
    message = await refused("http://ada:hush@127.0.0.1:1", FIRST)
    assert "hush" not in message
