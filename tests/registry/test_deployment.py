"""Deployment as read, check, plan, commit: what is refused, what is shown, what changes."""

import asyncio
from typing import Any

import msgspec
import pytest
from declaring import (
    ListLog,
    Manifest,
    bank,
    command,
    deployed,
    documents,
    entity,
    event,
    function,
    manifest,
    plan,
    record,
    told,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from evento.errors import DeploymentRefused, JournalCorrupt, JournalError
from evento.journal.base import EntityPlace
from evento.model.resources import Pinned, RetryPolicy
from evento.registry.deployment import Action, Change, Registry
from evento.registry.places import entities_after, places_for, places_of


def amount(type_: object) -> dict[str, object]:
    return record("CashWithdrawn", amount=type_)


async def test_a_first_deployment_creates_everything() -> None:
    registry = Registry(ListLog())
    first = plan(registry, *bank(command(retry={"cap": "1m"})))
    assert not first.problems
    assert first.changes == (
        Change(Action.CREATED, "Entity", "bank", "Checking"),
        Change(Action.CREATED, "Event", "bank", "CashWithdrawn", "Checking"),
        Change(Action.CREATED, "Event", "bank", "WithdrawalRejected", "Checking"),
        Change(Action.CREATED, "Function", "bank", "teller"),
        Change(Action.CREATED, "Command", "bank", "WithdrawCash", "Checking"),
    )
    assert registry.catalog.version == 0
    catalog = await registry.commit(first)
    assert catalog.version == 1
    spec = catalog.command("bank", "Checking", "WithdrawCash")
    assert (spec.events, spec.rejections, spec.handle) == ({"CashWithdrawn"}, {"WithdrawalRejected"}, "teller")
    assert spec.retry == RetryPolicy(cap_s=60.0)


async def test_deploying_the_same_again_changes_nothing() -> None:
    log = ListLog()
    registry = Registry(log)
    await registry.commit(plan(registry, *bank()))
    again = plan(registry, *reversed(bank()))
    assert not again.changed
    assert {change.action for change in again.changes} == {Action.UNCHANGED}
    assert (await registry.commit(again)).version == 1
    assert len(log.versions) == 1


async def test_a_schema_written_differently_is_the_same_schema() -> None:
    registry = await deployed(bank())
    same = '{"fields": [{"type": "long", "name": "amount"}], "name": "CashWithdrawn", "type": "record"}'
    assert not plan(registry, event(schema=same)).changed


async def test_what_a_deployment_does_not_mention_stays() -> None:
    registry = await deployed(bank(), [event("Closed")])
    assert registry.catalog.version == 2
    assert set(registry.catalog.entity("bank", "Checking").events) == {"CashWithdrawn", "WithdrawalRejected", "Closed"}
    assert registry.catalog.command("bank", "Checking", "WithdrawCash")


async def test_a_plan_says_what_differs() -> None:
    registry = await deployed(bank(function(image="bank:1", env={"RATE": "1", "TOKEN": "secret"})))
    changed = plan(
        registry,
        event(schema=record("CashWithdrawn", amount="double", note=("string", ""))),
        event("Closed"),
        command(events=["Closed"], retry={"first": "1s"}, handle="desk"),
        function("desk"),
        function(image="bank:2", env={"RATE": "1", "TOKEN": "hunter2"}, scale={"max": 3}),
    )
    assert not changed.problems
    differing = {change.name: change.differences for change in changed.changes if change.action == Action.UPDATED}
    assert differing == {
        "CashWithdrawn": ("schema: field note added", "schema: field amount changed"),
        "WithdrawCash": (
            "events: Closed added",
            "events: CashWithdrawn removed",
            "handle: teller → desk",
            "retry: first 0.1s, factor 2, cap 30s, maxAttempts 0 → first 1s, factor 2, cap 30s, maxAttempts 0",
        ),
        "teller": ("image: bank:1 → bank:2", "env: TOKEN changed", "scale: none → min 0, max 3, idle 60s, concurrency 2"),
    }


async def test_new_content_of_an_image_is_a_change_and_other_digests_alone_are_none() -> None:
    registry, teller = Registry(ListLog()), ("bank", "teller")
    first = plan(registry, *bank(function(image="bank:1", pull="always")))
    await registry.commit(registry.pinned(first, {teller: Pinned("sha256:1", ("sha256:a",))}))
    deployed = registry.catalog.function(*teller)
    assert (deployed.revision, deployed.digests, deployed.pull_always) == ("sha256:1", ("sha256:a",), True)
    again = plan(registry, function(image="bank:1", pull="always"))
    assert not registry.pinned(again, {teller: Pinned("sha256:1", ("sha256:b",))}).changed
    (change,) = registry.pinned(again, {teller: Pinned("sha256:2", ("sha256:b",))}).changes
    assert change.differences == ("content: sha256:1 → sha256:2", "digest in the registry: sha256:a → sha256:b")


async def test_new_content_of_a_function_is_a_change(tmp_path: Any) -> None:
    (tmp_path / "bank.py").write_text("1")
    spec = {"command": ["python", "bank.py"], "directory": str(tmp_path)}
    registry = await deployed(bank(function(**spec)))
    old = registry.catalog.function("bank", "teller").revision
    (tmp_path / "bank.py").write_text("2")
    changed = plan(registry, function(**spec))
    (line,) = changed.changes
    new = (await registry.commit(changed)).function("bank", "teller").revision
    assert line.differences == (f"content: {old} → {new}",)
    assert new != old


# ------------------------------------------------------------------ references
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            [entity(apply="tellr")],
            ("Entity bank/Checking", "spec.apply", "there is no Function of this name in namespace bank; did you mean teller?"),
        ),
        (
            [command(handle="other")],
            ("Command bank/WithdrawCash", "spec.handle", "there is no Function of this name in namespace bank"),
        ),
        (
            [command(entity="Cheking")],
            (
                "Command bank/WithdrawCash",
                "spec.entity",
                "there is no Entity of this name in namespace bank; did you mean Checking?",
            ),
        ),
        (
            [event("Closed", entity="Saving")],
            ("Event bank/Closed", "spec.entity", "there is no Entity of this name in namespace bank"),
        ),
        (
            [command(events=["CashWithdrwn"])],
            (
                "Command bank/WithdrawCash",
                "spec.events[0]",
                "there is no Event of this name in namespace bank; did you mean CashWithdrawn?",
            ),
        ),
        (
            [command(rejections=["Nothing"])],
            ("Command bank/WithdrawCash", "spec.rejections[0]", "there is no Event of this name in namespace bank"),
        ),
        (
            [command(rejections=["CashWithdrawn"])],
            (
                "Command bank/WithdrawCash",
                "spec.rejections[0]",
                "stands under events too; an Event is either a success or a rejection of a Command",
            ),
        ),
        (
            [entity("Savings"), event("Saved", entity="Savings"), command(events=["CashWithdrawn", "Saved"])],
            (
                "Command bank/WithdrawCash",
                "spec.events[1]",
                "this Event belongs to Savings; a Command of Checking cannot end in it",
            ),
        ),
        (
            [entity("Savings"), event(), event(entity="Savings")],
            (
                "Event bank/CashWithdrawn",
                "spec.entity",
                "an Event belongs to exactly one Entity; at document 6 it is declared for Checking",
            ),
        ),
        ([command(), command()], ("Command bank/WithdrawCash", "metadata.name", "is declared twice, at document 5 already")),
        ([function(), function()], ("Function bank/teller", "metadata.name", "is declared twice, at document 5 already")),
    ],
)
async def test_a_reference_that_is_wrong_is_refused_where_it_stands(changes: list[Manifest], problem: tuple[str, str, str]) -> None:
    log = ListLog()
    registry = Registry(log)
    refused = plan(registry, *bank(*changes))
    assert told(refused) == [problem]
    with pytest.raises(DeploymentRefused) as error:
        await registry.commit(refused)
    assert [(each["resource"], each["path"], each["message"]) for each in error.value.details["problems"]] == [problem]
    assert not log.versions


async def test_names_of_another_namespace_are_not_seen() -> None:
    registry = await deployed(bank())
    refused = plan(registry, manifest("Entity", "Loan", {"apply": "teller", "schema": record("Loan")}, namespace="loans"))
    assert told(refused) == [("Entity loans/Loan", "spec.apply", "there is no Function of this name in namespace loans")]


async def test_a_reference_may_be_to_what_is_deployed_already() -> None:
    registry = await deployed(bank())
    assert not plan(registry, command("Pay", rejections=[])).problems


async def test_two_entities_may_each_have_a_command_of_one_name() -> None:
    savings = [entity("Savings"), event("Saved", entity="Savings"), command(entity="Savings", events=["Saved"], rejections=[])]
    registry = await deployed([*bank(), *savings])
    assert registry.catalog.command("bank", "Savings", "WithdrawCash").events == {"Saved"}
    assert registry.catalog.command("bank", "Checking", "WithdrawCash").events == {"CashWithdrawn"}


async def test_an_event_never_moves_to_another_entity() -> None:
    registry = await deployed(bank(entity("Savings")))
    refused = plan(registry, event(entity="Savings"))
    assert told(refused) == [
        ("Event bank/CashWithdrawn", "spec.entity", "an Event belongs to one Entity for ever, this one to Checking")
    ]


# ------------------------------------------------------------------ schemas over time
@pytest.mark.parametrize("kind", ["Event", "Command"])
async def test_a_schema_that_cannot_read_what_is_stored_is_refused_with_the_field(kind: str) -> None:
    registry = await deployed(bank())
    declare = event if kind == "Event" else command
    name = "CashWithdrawn" if kind == "Event" else "WithdrawCash"
    inner = record("Fee", cents="long")
    refused = plan(registry, declare(schema=record(name, amount="string", fee=inner)))
    stored = "events" if kind == "Event" else "Commands"
    spec = registry.catalog.entity("bank", "Checking")
    schema_id = spec.events[name].schema_id if kind == "Event" else spec.commands[name].schema_id
    found = {(resource, path): message for resource, path, message in told(refused)}
    assert set(found) == {(f"{kind} bank/{name}", "spec.schema $.amount"), (f"{kind} bank/{name}", "spec.schema $.fee")}
    assert all(message.startswith(f"cannot read {stored} stored with schema {schema_id}: ") for message in found.values())


async def test_every_earlier_schema_is_checked_not_only_the_last() -> None:
    """v2 reads v1 and v3 reads v2, but v3 does not read v1: the default that made v2 readable is gone."""
    v1 = record("CashWithdrawn")
    v2 = record("CashWithdrawn", amount=("long", 0))
    v3 = record("CashWithdrawn", amount="long")
    registry = await deployed(bank(event(schema=v1)), [event(schema=v2)])
    ((resource, path, message),) = told(plan(registry, event(schema=v3)))
    first = registry.catalog.event_schema_ids("bank", "CashWithdrawn")[0]
    assert (resource, path) == ("Event bank/CashWithdrawn", "spec.schema $.amount")
    assert message.startswith(f"cannot read events stored with schema {first}: ")
    assert not plan(await deployed(bank(event(schema=v2))), event(schema=v3)).problems


async def test_going_back_to_an_earlier_schema_must_read_the_later_ones_too() -> None:
    registry = await deployed(bank(event(schema=amount("int"))), [event(schema=amount("long"))])
    ((_, path, message),) = told(plan(registry, event(schema=amount("int"))))
    assert path == "spec.schema $.amount"
    assert "long" in message


async def test_the_schema_of_a_state_may_change_in_any_way() -> None:
    registry = await deployed(bank(), [entity(schema=record("Account", owner="string"))])
    assert registry.catalog.schema(registry.catalog.entity("bank", "Checking").schema_id).full_name == "Account"


async def test_every_schema_ever_deployed_stays_readable_under_its_id() -> None:
    log = ListLog()
    registry = Registry(log)
    for type_ in ("int", "long", "double"):
        await registry.commit(plan(registry, *bank(event(schema=amount(type_)))))
    catalog = await Registry(log).load()
    ids = catalog.event_schema_ids("bank", "CashWithdrawn")
    assert [
        catalog.schema(schema_id).text.count(type_) for schema_id, type_ in zip(ids, ("int", "long", "double"), strict=True)
    ] == [1] * 3
    assert catalog.entity("bank", "Checking").events["CashWithdrawn"].schema_id == ids[-1]
    assert catalog.resolver(ids[0], ids[2])(b"\x06") == b"\x00\x00\x00\x00\x00\x00\x08\x40"
    assert catalog.resolver(ids[1], ids[1])(b"anything") == b"anything"


async def test_one_text_has_one_id_whoever_uses_it() -> None:
    shared = record("Amount", amount="long")
    registry = await deployed(bank(event(schema=shared), command(schema=shared)))
    catalog = registry.catalog
    assert (
        catalog.command("bank", "Checking", "WithdrawCash").schema_id
        == catalog.event("bank", "Checking", "CashWithdrawn").schema_id
    )
    assert len(catalog.schema_ids) == 3


# ------------------------------------------------------------------ removal
async def test_pruning_removes_commands_and_functions_nobody_mentions_and_keeps_entities_and_events() -> None:
    registry = await deployed(
        bank(function("spare"), entity("Savings")), [function(), manifest("Function", "f", {"url": "http://a"}, "other")]
    )
    pruning = plan(registry, *(each for each in bank() if each["kind"] == "Entity"), function(), prune=True)
    assert not pruning.problems
    assert [(change.kind, change.name) for change in pruning.changes if change.action == Action.REMOVED] == [
        ("Command", "WithdrawCash"),
        ("Function", "spare"),
    ]
    catalog = await registry.commit(pruning)
    assert set(catalog.functions) == {("bank", "teller"), ("other", "f")}
    assert not catalog.entity("bank", "Checking").commands
    assert set(catalog.entity("bank", "Checking").events) == {"CashWithdrawn", "WithdrawalRejected"}
    assert set(catalog.entities) == {("bank", "Checking"), ("bank", "Savings")}
    assert not plan(registry, entity(), function(), prune=True).changed


async def test_a_command_that_comes_back_must_still_read_what_was_stored() -> None:
    registry = await deployed(bank())
    await registry.commit(plan(registry, entity(), function(), prune=True))
    assert [path for _, path, _ in told(plan(registry, command(schema=record("WithdrawCash", amount="string"))))] == [
        "spec.schema $.amount"
    ]
    assert len(registry.catalog.command_schema_ids("bank", "Checking", "WithdrawCash")) == 1


async def test_pruning_keeps_a_function_that_an_unmentioned_entity_needs() -> None:
    registry = await deployed(bank(function("saver"), entity("Savings", apply="saver")))
    assert not plan(registry, *bank(), prune=True).changed


async def test_pruning_removes_a_function_together_with_the_last_command_that_needs_it() -> None:
    registry = await deployed(bank(function("desk"), command("Pay", handle="desk")))
    pruning = plan(registry, *bank(), prune=True)
    assert [change.name for change in pruning.changes if change.action == Action.REMOVED] == ["Pay", "desk"]


# ------------------------------------------------------------------ commit
async def test_a_lost_race_with_the_same_deployment_is_no_change() -> None:
    log = ListLog()
    one, two = Registry(log), Registry(log)
    first, second = plan(one, *bank()), plan(two, *bank())
    await one.commit(first)
    assert (await two.commit(second)).version == 1
    assert len(log.versions) == 1


async def test_a_lost_race_is_planned_again_and_committed_if_it_does_what_was_shown() -> None:
    log = ListLog()
    one, two = Registry(log), Registry(log)
    await one.commit(plan(one, *bank()))
    await two.load()
    mine, theirs = plan(one, event("Closed")), plan(two, event("Frozen"))
    await two.commit(theirs)
    catalog = await one.commit(mine)
    assert catalog.version == 3
    assert {"Closed", "Frozen"} <= set(catalog.entity("bank", "Checking").events)
    ids = [catalog.event("bank", "Checking", name).schema_id for name in ("Closed", "Frozen")]
    assert [catalog.schema(schema_id).full_name for schema_id in ids] == ["Closed", "Frozen"]


async def test_a_lost_race_that_makes_the_plan_another_one_is_refused() -> None:
    log = ListLog()
    one, two = Registry(log), Registry(log)
    await one.commit(plan(one, *bank()))
    await two.load()
    mine = plan(one, command(retry={"first": "2s"}))
    await two.commit(plan(two, command(retry={"first": "1s"})))
    with pytest.raises(DeploymentRefused, match=r"the catalog changed since this plan was made \(version 1, now 2\): plan again"):
        await one.commit(mine)
    assert len(log.versions) == 2


async def test_a_lost_race_that_makes_the_plan_wrong_is_refused_with_the_problem() -> None:
    log = ListLog()
    one, two = Registry(log), Registry(log)
    await one.commit(plan(one, *bank()))
    await two.load()
    mine = plan(one, event("Closed", schema=record("Closed", why="string")))
    await two.commit(plan(two, event("Closed", schema=record("Closed", why="long"))))
    with pytest.raises(DeploymentRefused, match=r"Event bank/Closed, spec\.schema \$\.why"):
        await one.commit(mine)


async def test_many_deployments_at_once_all_arrive_once() -> None:
    log = ListLog()
    registries = [Registry(log) for _ in range(8)]
    await registries[0].commit(plan(registries[0], *bank()))
    for registry in registries:
        await registry.load()
    plans = [(registry, plan(registry, event(f"E{number}"))) for number, registry in enumerate(registries)]
    async with asyncio.TaskGroup() as group:
        for registry, each in plans:
            group.create_task(registry.commit(each))
    catalog = await registries[0].load()
    assert len(log.versions) == 9
    assert {f"E{number}" for number in range(8)} <= set(catalog.entity("bank", "Checking").events)


async def test_a_deployment_larger_than_one_version_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.registry.deployment.CATALOG_BYTES_MAX", 100)
    ((_, _, message),) = told(plan(Registry(ListLog()), *bank()))
    assert "more than 100; deploy it in parts" in message


# ------------------------------------------------------------------ the log
async def test_a_newer_format_is_refused_loudly() -> None:
    log = ListLog()
    log.versions.append(msgspec.json.encode({"format": 4, "change": {"views": []}}))
    with pytest.raises(JournalError, match="catalog version 1 has format 4; this Evento knows up to 3: use a newer one") as refused:
        await Registry(log).load()
    assert not isinstance(refused.value, JournalCorrupt)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b'{"format": 1}',
        b'{"format": 1, "change": {"views": []}}',
        b'{"format": 1, "change": {"schemas": [{"id": 2, "text": "{}"}]}}',
        b'{"format": 1, "change": {"events": [{"namespace": "a", "name": "B", "entity": "C", "schema_id": 1}]}}',
    ],
)
async def test_a_broken_catalog_version_is_refused_as_corrupt(content: bytes) -> None:
    log = ListLog()
    log.versions.append(content)
    with pytest.raises(JournalCorrupt, match="catalog version 1"):
        await Registry(log).load()


async def test_a_missing_version_is_refused_as_corrupt() -> None:
    class Gap(ListLog):
        async def read_catalogs(self, *, after: int = 0) -> list[tuple[int, bytes]]:
            return [(version + 1, content) for version, content in await super().read_catalogs(after=after)]

    log = Gap()
    log.versions.append(b"{}")
    with pytest.raises(JournalCorrupt, match="catalog version 2 follows on version 0"):
        await Registry(log).load()


_TYPES = st.sampled_from(["int", "long", "double", "string"])
_EVENTS = st.dictionaries(
    st.sampled_from(["Opened", "Paid", "Closed"]),
    st.dictionaries(st.sampled_from("abc"), st.tuples(_TYPES, st.just(0)), max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_EVENTS, max_size=5))
def test_whatever_is_deployed_reads_all_that_was_and_loads_as_it_was(history: list[dict[str, dict[str, tuple[str, int]]]]) -> None:
    async def run() -> None:
        log = ListLog()
        registry = Registry(log)
        await registry.commit(plan(registry, *bank()))
        for events in history:
            manifests = [
                event(name, schema=record(name, **{f: (t, "" if t == "string" else v) for f, (t, v) in fields.items()}))
                for name, fields in events.items()
            ]
            each = plan(registry, *manifests)
            if each.problems:
                with pytest.raises(DeploymentRefused):
                    await registry.commit(each)
                continue
            versions = len(log.versions)
            await registry.commit(each)
            assert len(log.versions) == versions + each.changed
            assert not registry.plan(documents(*manifests)).changed
        catalog, loaded = registry.catalog, await Registry(log).load()
        assert (loaded.version, loaded.entities, loaded.contents.texts) == (
            catalog.version,
            catalog.entities,
            catalog.contents.texts,
        )
        for name, spec in loaded.entity("bank", "Checking").events.items():
            for schema_id in loaded.event_schema_ids("bank", name):
                assert loaded.resolver(schema_id, spec.schema_id)

    asyncio.run(run())


async def test_the_places_of_a_plan_are_all_entities_as_they_will_be() -> None:
    registry = Registry(ListLog())
    first = plan(registry, *bank())
    assert entities_after(registry.catalog, first) == [EntityPlace("bank", "Checking")]
    catalog = await registry.commit(first)
    second = plan(registry, *bank(), entity("Savings", partitions=4), event("SavingsOpened", entity="Savings"))
    there = EntityPlace("bank", "Checking", deployed=True)
    assert entities_after(catalog, second) == [there, EntityPlace("bank", "Savings", 4)]
    assert places_of(catalog) == [there]
    assert places_of(await registry.commit(second)) == [there, EntityPlace("bank", "Savings", 4, deployed=True)]
    assert places_for(catalog) == [EntityPlace("bank", "Checking")]  # of a catalog that comes from elsewhere
