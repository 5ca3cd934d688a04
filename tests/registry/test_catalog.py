"""The catalog: what is deployed, and everything that ever was."""

import time

import pytest
from declaring import ListLog, bank, deployed, entity, event, manifest, plan, record

from evento.errors import NotFound
from evento.registry.catalog import Catalog
from evento.registry.contents import Contents
from evento.registry.deployment import Registry
from evento.registry.records import CatalogChange, SchemaRecord


async def test_an_unknown_name_is_refused_with_the_known_ones_and_the_one_perhaps_meant() -> None:
    catalog = (await deployed(bank(entity("Savings")))).catalog
    cases = [
        (lambda: catalog.entity("bank", "Cheking"), "there is no Entity 'Cheking' in namespace bank; did you mean Checking?"),
        (lambda: catalog.entity("bnk", "Checking"), "there is no namespace 'bnk'; did you mean bank?"),
        (lambda: catalog.entity("bank", "Zebra"), "there is no Entity 'Zebra' in namespace bank"),
        (lambda: catalog.command("bank", "Savings", "WithdrawCash"), "there is no Command 'WithdrawCash' of bank/Savings"),
        (
            lambda: catalog.command("bank", "Checking", "Withdraw"),
            "there is no Command 'Withdraw' of bank/Checking; did you mean WithdrawCash?",
        ),
        (lambda: catalog.event("bank", "Checking", "X" * 500), f"there is no Event '{'X' * 80}' of bank/Checking"),
        (lambda: catalog.function("bank", "tellr"), "there is no Function 'tellr' in namespace bank; did you mean teller?"),
        (lambda: catalog.schema(9), "there is no schema 9; ids go from 1 to 5"),
        (lambda: catalog.schema(0), "there is no schema 0; ids go from 1 to 5"),
    ]
    for lookup, message in cases:
        with pytest.raises(NotFound) as refused:
            lookup()
        assert refused.value.message == message
    with pytest.raises(NotFound) as refused:
        catalog.command("bank", "Checking", "Withdraw")
    assert refused.value.details == {"kind": "Command", "name": "Withdraw", "known": ["WithdrawCash"], "hint": "WithdrawCash"}


async def test_a_name_among_very_many_is_refused_without_a_search_for_the_closest() -> None:
    registry = await deployed([*bank(), *(event(f"Event{number}") for number in range(600))])
    with pytest.raises(NotFound, match=r"there is no Event 'Event' of bank/Checking$") as refused:
        registry.catalog.event("bank", "Checking", "Event")
    assert len(refused.value.details["known"]) == 20


async def test_a_snapshot_does_not_change_when_more_is_deployed() -> None:
    registry = await deployed(bank())
    before = registry.catalog
    await registry.commit(plan(registry, event("Closed")))
    assert "Closed" not in before.entity("bank", "Checking").events
    assert len(before.schema_ids) + 1 == len(registry.catalog.schema_ids)
    with pytest.raises(NotFound):
        before.schema(len(before.schema_ids) + 1)
    with pytest.raises(TypeError):
        registry.catalog.entities["bank", "Other"] = before.entity("bank", "Checking")  # type: ignore[index]


async def test_schemas_and_resolvers_are_made_once_and_kept_over_versions() -> None:
    registry = await deployed(bank(event(schema=record("CashWithdrawn", amount="int"))), [event()])
    catalog = registry.catalog
    one, two = catalog.event_schema_ids("bank", "CashWithdrawn")
    assert catalog.schema(one) is catalog.schema(one)
    assert catalog.resolver(one, two) is catalog.resolver(one, two)
    await registry.commit(plan(registry, event("Closed")))
    assert registry.catalog.resolver(one, two) is catalog.resolver(one, two)
    assert registry.catalog.schema_id(catalog.schema(one)) == one


async def test_everything_deployed_is_found() -> None:
    catalog = (await deployed(bank())).catalog
    assert catalog.event("bank", "Checking", "CashWithdrawn").name == "CashWithdrawn"
    assert catalog.function("bank", "teller").url == "http://localhost:9000"
    assert catalog.schema(catalog.entity("bank", "Checking").schema_id).full_name == "Checking"
    assert catalog.event_schema_ids("bank", "Nothing") == catalog.command_schema_ids("bank", "Checking", "Nothing") == ()


def test_ten_thousand_schemas_load_without_being_parsed() -> None:
    contents = Contents()
    texts = (f'{{"type":"record","name":"A{number}","fields":[{{"name":"x","type":"long"}}]}}' for number in range(10_000))
    contents.absorb(1, CatalogChange(schemas=[SchemaRecord(number, text) for number, text in enumerate(texts, 1)]))
    started = time.process_time()
    catalog = Catalog(1, contents)
    assert catalog.schema(10_000).full_name == "A9999"
    assert time.process_time() - started < 1


async def test_a_thousand_events_are_planned_and_loaded_in_seconds() -> None:
    log = ListLog()
    registry = Registry(log)
    started = time.process_time()
    many = plan(registry, *bank(), *(event(f"E{number}") for number in range(1000)))
    assert not many.problems
    await registry.commit(many)
    assert len((await Registry(log).load()).entity("bank", "Checking").events) == 1002
    assert time.process_time() - started < 10


async def test_namespaces_are_apart() -> None:
    other = [
        manifest("Entity", "Checking", {"apply": "f", "schema": record("Other")}, "shop"),
        manifest("Function", "f", {"url": "http://a"}, "shop"),
    ]
    catalog = (await deployed(bank(), other)).catalog
    assert not catalog.entity("shop", "Checking").events
    assert catalog.entity("bank", "Checking").events
