"""Schema first: a class is checked against its .avsc, or handlers get dicts."""

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest

from evento.sdk import DeclarationError, Namespace, Precision
from evento.sdk.manifests import discovery
from evento.sdk.testing import given

CART = {
    "type": "record",
    "name": "Cart",
    "namespace": "shop",
    "fields": [
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "items", "type": {"type": "map", "values": "int"}},
    ],
}
ADDED = {
    "type": "record",
    "name": "ItemAdded",
    "fields": [{"name": "sku", "type": "string"}, {"name": "price", "type": CART["fields"][0]["type"]}],
}
ADD = {**ADDED, "name": "AddItem"}

shop = Namespace("shop")


@shop.entity(schema=CART)
class Cart(dict):
    pass


@shop.event(Cart, schema=json.dumps(ADDED))
class ItemAdded(dict):
    pass


@shop.command(Cart, schema=Path("add_item.avsc"))
class AddItem(dict):
    pass


@shop.handle
def add(command: AddItem, cart: Cart | None) -> ItemAdded:
    if command["price"] < 0:
        return ItemAdded(sku=command["sku"])
    return ItemAdded(command)


@shop.apply
def evolve(event: ItemAdded, cart: Cart | None) -> Cart:
    cart = cart or Cart(total=Decimal(0), items={})
    items = {**cart["items"], event["sku"]: cart["items"].get(event["sku"], 0) + 1}
    return Cart(total=cart["total"] + event["price"], items=items)


def test_handlers_get_dicts_and_return_dicts():
    apple = {"sku": "apple", "price": Decimal("1.20")}
    then = given(Cart, [ItemAdded(sku="pear", price=Decimal("0.80"))]).when(AddItem(apple))
    then.then(ItemAdded(apple)).then_state(Cart(total=Decimal("2.00"), items={"apple": 1, "pear": 1}))


def test_a_dict_that_does_not_fit_its_schema_fails_the_item():
    given(Cart).when(AddItem(sku="x", price=Decimal(-1))).then_fails("price", code="invalid-result")


def test_the_given_schema_is_what_is_told():
    (entity,) = discovery(shop)["entities"]
    assert json.loads(entity["schema"]) == CART
    assert json.loads(entity["commands"][0]["schema"]) == ADD


class Size(Enum):
    S = 1
    L = 2


SHIRT = {
    "type": "record",
    "name": "Shirt",
    "fields": [
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "note", "type": ["string", "null"]},
        {"name": "size", "type": {"type": "enum", "name": "ShirtSize", "symbols": ["S", "L"]}},
        {"name": "washed", "type": {"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}},
    ],
}


def shirt(**changes):
    from datetime import datetime

    annotations = {
        "size": Size,
        "note": str | None,
        "washed": list[datetime],
        "price": Annotated[Decimal, Precision(9, 2)],
        **changes,
    }
    annotations = {name: annotation for name, annotation in annotations.items() if annotation}
    return dataclass(frozen=True)(type("Shirt", (), {"__annotations__": annotations}))


def test_a_dataclass_takes_the_order_of_its_schema():
    store = Namespace("store")
    cls = store.entity(schema=SHIRT)(shirt())
    codec = store.entity_of(cls).codec
    value = cls(size=Size.L, note="n", washed=[], price=Decimal("1.00"))
    assert codec.encode(value) == b"\x02\x64" + b"\x00\x02n" + b"\x02" + b"\x00"
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"note": None}, r"only in the schema: \['note'\]"),
        ({"colour": str}, r"only in the class: \['colour'\]"),
        ({"price": Annotated[Decimal, Precision(9, 3)]}, r"Shirt\.price"),
        ({"note": int | None}, r"Shirt\.note"),
        ({"note": str}, r"Shirt\.note"),
        ({"size": Enum("Size", ["S", "M"])}, r"Shirt\.size: the schema's symbols"),
        ({"washed": list[int]}, r"Shirt\.washed\[\]"),
        ({"washed": int}, r"Shirt\.washed"),
    ],
)
def test_a_dataclass_that_differs_is_refused_by_the_path(changes, words):
    with pytest.raises(DeclarationError, match=words):
        Namespace("store").entity(schema=SHIRT)(shirt(**changes))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, "needs its schema"),
        ("{", "cannot be read"),
        (Path("nowhere.avsc"), "cannot be read"),
        ('"string"', "must be a record"),
        ({"type": "record", "name": "X", "fields": [{"name": "a", "type": "nope"}]}, "Avro refuses"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema, words):
    with pytest.raises(DeclarationError, match=words):
        Namespace("store").entity(schema=schema)(type("X", (dict,), {}))
