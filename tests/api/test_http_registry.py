"""The registry that Evento serves, asked by the registry client of Confluent, whose code nobody here wrote."""

import asyncio
import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from scripted import BANK, NOTE, Server, record, resource

from evento.journal.kafka.records import event_records, outcome_record, refusal_record, state_record
from evento.model.command import Command, Event, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Refusal
from evento.protocol.reserved import OUTCOME_ID

KEY = EntityKey("bank", "Checking", "ada")
TIME_US = 1_790_000_000_123_456
EVENTS, COMMANDS, STATE, OUTCOMES = (
    f"{topic}-value" for topic in ("bank.Checking.events", "bank.Checking.commands", "bank.Checking.state", "evento.outcomes")
)
MORE = record("MoneyReceived", amount=BANK[1]["spec"]["schema"]["fields"][0]["type"])  # type: ignore[index]
MORE["fields"].append({"name": "reference", "type": NOTE, "default": None})  # type: ignore[attr-defined]


@pytest.fixture
def client(server: Server) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": f"{server.url}/registry", "max.retries": 0})


def payload(value: dict[str, Any], schema: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def schema_of(kind: str, name: str) -> dict[str, Any]:
    found = next(each for each in BANK if (each["kind"], each["metadata"]["name"]) == (kind, name))  # type: ignore[index]
    return found["spec"]["schema"]  # type: ignore[index,no-any-return]


async def asked(function: Any, *given: Any, **named: Any) -> Any:
    """Ask with a client that blocks: it has a thread, as the server has the loop."""
    return await asyncio.to_thread(function, *given, **named)


async def refused(function: Any, *given: Any) -> tuple[int, int]:
    with pytest.raises(SchemaRegistryError) as error:
        await asked(function, *given)
    return error.value.http_status_code, error.value.error_code


async def deploy(server: Server, *documents: object) -> None:
    async with server.session.post("/v1/deployments", json=list(documents)) as response:
        assert response.status == 200, await response.text()


async def test_the_deserializer_reads_what_stands_on_every_topic(server: Server, client: SchemaRegistryClient) -> None:
    ids = dict(await asked(ids_by_record, client))
    amount, note = Decimal("4.00"), {"note": None}
    withdraw = Command(
        "c1",
        KEY,
        "ReceiveDeposit",
        ids["bank.ReceiveDeposit"],
        payload({"amount": amount} | note, schema_of("Command", "ReceiveDeposit")),
        TIME_US,
    )
    event = Event("MoneyReceived", ids["bank.MoneyReceived"], payload({"amount": amount}, schema_of("Event", "MoneyReceived")))
    turn = Turn(withdraw, OutcomeKind.SUCCEEDED, 0, (event,), TIME_US, "r1")
    state = State(1, payload({"balance": amount}, schema_of("Entity", "Checking")), ids["bank.Checking"], "r1")
    refusal = Refusal("bank.Checking.commands", 17, KEY, "c2", "invalid-request", "no type", TIME_US)
    read = AvroDeserializer(client)
    records = [
        (event_records("bank.Checking.events", turn)[0], {"amount": amount}),
        (state_record("bank.Checking.state", KEY, state), {"balance": amount}),
    ]
    for made, value in records:
        assert await asked(read, made.value, SerializationContext(made.topic, MessageField.VALUE, made.headers)) == value
    told = [outcome_record("evento.outcomes", turn), refusal_record("evento.outcomes", refusal)]
    context = SerializationContext("evento.outcomes", MessageField.VALUE)
    finished, not_taken = [await asked(read, made.value, context) for made in told]
    assert (finished["outcome"], finished["turn"]["events"][0]["payload"]) == ("succeeded", event.payload)
    assert (not_taken["outcome"], not_taken["refusal"]["offset"], not_taken["turn"]) == ("refused", 17, None)


def ids_by_record(client: SchemaRegistryClient) -> list[tuple[str, int]]:
    names = [subject for subject in client.get_subjects() if not subject.endswith("-value")]
    return [(name, client.get_latest_version(name).schema_id) for name in names]


async def test_a_serializer_writes_commands_as_they_are_deployed(client: SchemaRegistryClient) -> None:
    """In each of the three ways in which programs are set up: to register, to look up, and to take the latest."""
    text = json.dumps(schema_of("Command", "WithdrawCash"))
    value = {"amount": Decimal("4.00")}
    context = SerializationContext("bank.Checking.commands", MessageField.VALUE)
    ways = [
        {},
        {"auto.register.schemas": False},
        {"auto.register.schemas": False, "use.latest.version": True, "subject.name.strategy": record_subject_name_strategy},
    ]
    written = [await asked(AvroSerializer(client, text, conf=way), value, context) for way in ways]
    expected = (await asked(client.get_latest_version, "bank.WithdrawCash")).schema_id
    assert {made[:5] for made in written} == {b"\x00" + expected.to_bytes(4, "big")}
    assert await asked(AvroDeserializer(client), written[0], context) == value


async def test_subjects_are_topics_and_records(client: SchemaRegistryClient) -> None:
    assert await asked(client.get_subjects) == sorted(
        [COMMANDS, EVENTS, STATE, OUTCOMES, "evento.Outcome"]
        + [
            f"bank.{name}"
            for name in ("Checking", "MoneyReceived", "CashWithdrawn", "WithdrawalRejected", "ReceiveDeposit", "WithdrawCash")
        ]
    )
    assert await asked(client.get_subjects, subject_prefix="bank.Checking.", offset=1, limit=1) == [EVENTS]
    assert await asked(client.get_versions, EVENTS) == [1, 2, 3]
    assert [(await asked(client.get_version, EVENTS, version)).schema_id for version in (1, 2, 3)] == [2, 3, 4]
    latest = await asked(client.get_latest_version, OUTCOMES)
    assert (latest.schema_id, latest.version, latest.subject) == (OUTCOME_ID, 1, OUTCOMES)


async def test_a_version_is_the_same_schema_for_ever(server: Server, client: SchemaRegistryClient) -> None:
    """Also when another Entity takes a schema that has been there for long."""
    savings = resource("Entity", "Savings", schema=record("Savings", balance="long"), apply="functions")
    given = resource("Event", "Given", entity="Savings", schema=record("Given", by="string"))
    taken = resource("Command", "Take", entity="Savings", schema=record("Take"), events=["Given"], handle="functions")
    old = schema_of("Command", "WithdrawCash")
    same = resource("Command", "WithdrawCash", entity="Savings", schema=old, events=["Given"], handle="functions")
    await deploy(server, savings, given, taken)
    before = (await asked(client.get_version, "bank.Savings.commands-value", 1)).schema_id
    await deploy(server, same, resource("Event", "MoneyReceived", entity="Checking", schema=MORE))
    versions = [(await asked(client.get_version, "bank.Savings.commands-value", number)).schema_id for number in (1, 2)]
    assert versions == [before, (await asked(client.get_latest_version, "bank.WithdrawCash")).schema_id]
    assert versions[1] < versions[0]
    assert await asked(client.get_versions, EVENTS) == [1, 2, 3, 4]
    assert await asked(client.get_versions, "bank.MoneyReceived") == [1, 2]
    newest = await asked(client.get_latest_version, EVENTS)
    assert json.loads(newest.schema.schema_str) == MORE
    places = await asked(client.get_schema_versions, newest.schema_id)
    assert {(place.subject, place.version) for place in places} == {(EVENTS, 4), ("bank.MoneyReceived", 2)}


async def test_a_deployment_is_seen_at_once(server: Server, client: SchemaRegistryClient) -> None:
    assert await asked(client.get_versions, "bank.MoneyReceived") == [1]
    await deploy(server, resource("Event", "MoneyReceived", entity="Checking", schema=MORE))
    assert await asked(client.get_versions, "bank.MoneyReceived") == [1, 2]


async def test_what_is_not_there_is_refused_in_the_words_of_a_registry(client: SchemaRegistryClient) -> None:
    other = Schema(json.dumps(record("Other")), "AVRO")
    assert await refused(client.get_schema, 4711) == (404, 40403)
    assert await refused(client.get_versions, "nobody") == (404, 40401)
    assert await refused(client.get_version, EVENTS, 9) == (404, 40402)
    assert await refused(client.get_version, EVENTS, "first") == (422, 42202)
    assert await refused(client.lookup_schema, EVENTS, other) == (404, 40403)
    assert await refused(client.lookup_schema, "nobody", other) == (404, 40401)
    assert await refused(client.lookup_schema, EVENTS, Schema("{", "AVRO")) == (422, 42201)
    assert await refused(client.lookup_schema, EVENTS, Schema("{}", "JSON")) == (422, 42201)
    assert await refused(client.register_schema, EVENTS, other) == (422, 42205)
    assert await refused(client.delete_subject, EVENTS) == (422, 42205)
    assert await refused(client.set_compatibility, EVENTS, "NONE") == (422, 42205)
    assert (await refused(client.get_associations_by_resource_name, "bank.Checking.events", "-"))[0] == 404


async def test_how_the_registry_is_set_up_can_be_asked(server: Server, client: SchemaRegistryClient) -> None:
    assert await asked(client.get_schema_types) == ["AVRO"]
    assert await asked(client.get_compatibility) == await asked(client.get_compatibility, EVENTS) == "BACKWARD"
    assert await asked(client.get_global_mode) == await asked(client.get_mode, EVENTS) == "READONLY"
    assert set(await asked(client.get_subjects_by_schema_id, 2)) == {EVENTS, "bank.MoneyReceived"}
    async with server.session.get("/registry/schemas/ids/2/schema") as response:
        assert await response.json(content_type=None) == schema_of("Event", "MoneyReceived")
    async with server.session.head("/registry/subjects") as response:
        assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "contexts",
        "schemas",
        "schemas/ids",
        "schemas/ids/-1",
        "schemas/ids/2/3/4",
        "schemas/ids/%F0%9F%8F%A6",
        "schemas/ids/99999999999999999999",
        "schemas/ids/%D9%A3",
        "subjects//versions",
        "subjects/a%2Fb/versions",
        "subjects/%FF/versions",
        "subjects/%00/versions/1",
        f"subjects/{EVENTS}/versions/1/nothing",
        f"subjects/{EVENTS}/versions/0",
        f"subjects/{EVENTS}",
        f"subjects/{EVENTS}/versions",
        f"subjects/{EVENTS}/versions?offset=x",
        f"subjects/{EVENTS}/versions?offset=-5&limit=0",
        "config/a/b",
        "mode/nobody",
        "x" * 2000,
    ],
)
async def test_whatever_is_asked_the_answer_is_that_of_a_registry_and_never_500(server: Server, method: str, path: str) -> None:
    for data in (b"", b"{", b"[]", b'{"schema": 4}', b'{"schema": "\\ud800"}', b"\xff"):
        async with server.session.request(method, f"/registry/{path}", data=data) as response:
            body = await response.json(content_type=None)
            assert response.status < 500, body
            assert response.content_type == "application/vnd.schemaregistry.v1+json"
            if response.status >= 400:
                assert body["error_code"] // (100 if body["error_code"] > 1000 else 1) == response.status
                assert body["message"]


async def test_a_body_without_end_is_refused(server: Server) -> None:
    async with server.session.post(f"/registry/subjects/{EVENTS}", data=b" " * 600_000) as response:
        assert (response.status, (await response.json(content_type=None))["error_code"]) == (413, 413)
