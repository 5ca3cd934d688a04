"""Each wrong declaration is refused when it is made, in words that name it."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Optional

import pytest

from evento.sdk import Context, DeclarationError, Int32, Namespace, Precision, Retry
from evento.sdk.manifests import discovery, manifests


@dataclass(frozen=True)
class Thing:
    size: int = 0


@dataclass(frozen=True)
class Grown:
    by: int


@dataclass(frozen=True)
class Shrunk:
    by: int


@dataclass(frozen=True)
class NotGrown:
    why: str


@dataclass(frozen=True)
class Grow:
    by: int


@dataclass(frozen=True)
class Shrink:
    by: int


@pytest.fixture
def shop():
    shop = Namespace("shop")
    shop.entity(Thing)
    shop.event(Thing)(Grown)
    shop.event(Thing)(Shrunk)
    shop.rejection(Thing)(NotGrown)
    shop.command(Thing)(Grow)
    return shop


def refused(words):
    return pytest.raises(DeclarationError, match=words)


# ------------------------------------------------------------------ types
@pytest.mark.parametrize("name", ["", "Bank", "a b", "1a", "-a", "a" * 64])
def test_a_namespace_needs_a_right_name(name):
    with refused("namespace"):
        Namespace(name)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Decimal, "how many digits"),
        (Annotated[Decimal, Precision(39, 2)], "digits"),
        (Annotated[Decimal, Precision(2, 3)], "digits"),
        (Annotated[str, Precision(2, 1)], "does not go with"),
        (Annotated[str, Int32], "does not go with"),
        (complex, "no Avro type"),
        (object, "no Avro type"),
        (dict[int, str], "keys must be str"),
        (tuple[int, str], "any length"),
        (list[complex], r"\.value\[\]"),
        (dict[str, complex], r"\.value\{\}"),
        (list[str] | list[int], "one and the same"),
    ],
)
def test_a_field_without_an_avro_type_is_refused_by_its_path(annotation, words):
    cls = dataclass(frozen=True)(type("Odd", (), {"__annotations__": {"value": annotation}}))
    with refused(r"Odd\.value") as error:
        Namespace("shop").entity(cls)
    assert error.match(words)


def test_a_dataclass_that_can_be_changed_is_refused():
    @dataclass
    class Loose:
        size: int

    with refused("Loose must be @dataclass\\(frozen=True\\)"):
        Namespace("shop").entity(Loose)


def test_a_nested_one_too():
    @dataclass
    class Inner:
        size: int

    @dataclass(frozen=True)
    class Outer:
        inner: Inner

    with refused(r"Outer\.inner: Inner must be"):
        Namespace("shop").entity(Outer)


def test_a_plain_class_is_refused():
    class Plain:
        size: int

    with refused("Plain must be"):
        Namespace("shop").entity(Plain)


def test_a_default_that_does_not_fit_is_refused():
    @dataclass(frozen=True)
    class Wrong:
        price: Annotated[Decimal, Precision(4, 2)] = Decimal("0.001")

    with refused(r"Wrong\.price: the default"):
        Namespace("shop").entity(Wrong)


def test_a_list_of_nothing_is_refused():
    @dataclass(frozen=True)
    class Nothing:
        pass

    @dataclass(frozen=True)
    class Bag:
        items: list[Nothing]

    with refused("take no bytes"):
        Namespace("shop").entity(Bag)


@dataclass(frozen=True)
class Tree:
    children: "list[Tree]" = field(default_factory=list)


def test_a_class_that_contains_itself_is_refused():
    with refused("contains itself"):
        Namespace("shop").entity(Tree)


def test_an_enum_with_odd_names_is_refused():
    @dataclass(frozen=True)
    class Sign:
        colour: Enum("Colour", ["größe"])

    with refused("an Avro enum"):
        Namespace("shop").entity(Sign)


def test_an_annotation_that_means_nothing_is_refused():
    @dataclass(frozen=True)
    class Lost:
        value: "Nowhere"  # noqa: F821

    with refused("'Nowhere' is not defined"):
        Namespace("shop").entity(Lost)


def test_names_are_unique(shop):
    with refused("declared already"):
        shop.entity(Thing)
    with refused("has that name"):
        shop.event(Thing, name="Grown")(dataclass(frozen=True)(type("Other", (), {})))
    with refused("has that name already"):
        shop.command(Thing, name="Grow")(dataclass(frozen=True)(type("Other", (), {})))
    with refused("capital letter"):
        shop.command(Thing, name="grow")(Shrink)


def test_two_entities_may_have_commands_of_one_name_and_events_may_not(shop):
    other = shop.entity(dataclass(frozen=True)(type("Other", (), {})))
    shop.command(other, name="Grow")(dataclass(frozen=True)(type("GrowOther", (), {})))
    with refused("exactly one Entity"):
        shop.event(other, name="Grown")(dataclass(frozen=True)(type("GrownOther", (), {})))


def test_a_command_of_no_entity_is_refused():
    with refused("Thing is no Entity of namespace 'shop'"):
        Namespace("shop").command(Thing)


# ------------------------------------------------------------------ handles
def test_handles_that_contradict_the_declarations_are_refused(shop):
    def nothing(command: Grow, thing: Thing | None) -> None: ...
    def perhaps(command: Grow, thing: Thing | None) -> Grown | None: ...
    def unannotated(command: Grow, thing: Thing | None): ...
    def never_absent(command: Grow, thing: Thing) -> Grown: ...
    def other_command(command: Shrink, thing: Thing | None) -> Grown: ...
    def an_entity(command: Grow, thing: Thing | None) -> Thing: ...
    def only_no(command: Grow, thing: Thing | None) -> NotGrown: ...
    def lonely(command: Grow) -> Grown: ...
    def starred(*all: Grow) -> Grown: ...
    def wordy(command: Grow, thing: Thing | None, time: datetime) -> Grown: ...

    for function, words in [
        (nothing, "at least one event"),
        (perhaps, "at least one event"),
        (unannotated, "'return' has no annotation"),
        (never_absent, "must be Thing | None"),
        (other_command, "must be one Command"),
        (an_entity, "Thing is no event of Thing"),
        (only_no, "nothing but rejections"),
        (lonely, "takes 1 parameters"),
        (starred, "takes 1 parameters"),
        (wordy, "must be a Context"),
    ]:
        with refused(words.replace("|", r"\|")) as error:
            shop.handle(function)
        assert function.__name__ in str(error.value)


def test_the_return_annotation_says_which_events(shop):
    @shop.handle
    def grow(command: Grow, thing: Optional[Thing], context: Context) -> list[Grown | Shrunk] | tuple[Grown, ...] | NotGrown:  # noqa: UP045
        return NotGrown("no")

    (entity,) = discovery_of(shop)
    assert entity["commands"][0]["events"] == ["Grown", "Shrunk"]
    assert entity["commands"][0]["rejections"] == ["NotGrown"]

    with refused("has a handle already"):
        shop.handle(grow)


def discovery_of(namespace):
    return discovery(namespace)["entities"]


# ------------------------------------------------------------------ applies
def test_applies_that_contradict_the_declarations_are_refused(shop):
    def partial(event: Grown | Shrunk, thing: Thing | None) -> Thing: ...
    def perhaps(event: Grown | Shrunk | NotGrown, thing: Thing | None) -> Thing | None: ...
    def never_absent(event: Grown | Shrunk | NotGrown, thing: Thing) -> Thing: ...
    def contextual(event: Grown | Shrunk | NotGrown, thing: Thing | None, context: Context) -> Thing: ...
    def of_commands(event: Grow, thing: Thing | None) -> Thing: ...
    async def waiting(event: Grown | Shrunk | NotGrown, thing: Thing | None) -> Thing: ...

    for function, words in [
        (partial, "misses NotGrown"),
        (perhaps, "nothing else: an apply is total"),
        (never_absent, "must be Thing \\| None"),
        (contextual, "belongs into the event"),
        (of_commands, "Grow is no event of Thing"),
        (waiting, "must not wait"),
    ]:
        with refused(words):
            shop.apply(function)


def test_one_apply_per_event_must_cover_them_all(shop):
    @shop.apply
    def grown(event: Grown, thing: Thing | None) -> Thing:
        return Thing()

    with refused("Grown has an apply already"):
        shop.apply(grown)
    with refused("nothing applies Shrunk, NotGrown"):
        shop.check()
    with refused("before its apply"):
        shop.event(Thing)(dataclass(frozen=True)(type("Late", (), {})))

    @shop.apply
    def shrunk(event: Shrunk, thing: Thing | None) -> Thing:
        return Thing()

    @shop.apply
    def same(event: NotGrown, thing: Thing | None) -> Thing:
        return thing or Thing()

    shop.check()
    assert discovery_of(shop)[0]["applies"]


def test_a_namespace_without_functions_serves_nothing(shop):
    with refused("neither a handle nor an apply"):
        shop.check()


def test_a_module_with_handles_only_leaves_apply_to_another(shop):
    @shop.handle
    def grow(command: Grow, thing: Thing | None) -> Grown:
        return Grown(1)

    entity = next(document for document in manifests(shop) if document["kind"] == "Entity")
    assert "apply" not in entity["spec"]
    assert not discovery_of(shop)[0]["applies"]


def test_a_retry_stands_in_the_manifest_as_it_was_given(shop):
    shop.command(Thing, retry=Retry(first="1s", max_attempts=3))(Shrink)

    @shop.handle
    def shrink(command: Shrink, thing: Thing | None) -> Shrunk:
        return Shrunk(1)

    spec = next(document["spec"] for document in manifests(shop) if document["metadata"]["name"] == "Shrink")
    assert spec["retry"] == {"first": "1s", "maxAttempts": 3}
    assert spec["handle"] == "shop-functions"
