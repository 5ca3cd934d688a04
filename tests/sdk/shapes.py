"""Dataclasses with every kind of field, for the tests of codecs and calls."""

from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated
from uuid import UUID

from evento.sdk import Float32, Int32, Precision


class Colour(Enum):
    """What it looks like."""

    RED = "r"
    GREEN = "g"


@dataclass(frozen=True)
class Point:
    x: Annotated[int, Int32]
    y: Annotated[int, Int32] = 0


@dataclass(frozen=True, slots=True)
class Slotted:
    name: str
    price: Annotated[Decimal, Precision(38, 10)]


@dataclass(frozen=True)
class Everything:
    """All of it."""

    text: str
    number: int
    small: Annotated[int, Int32]
    real: float
    rough: Annotated[float, Float32]
    yes: bool
    raw: bytes
    money: Annotated[Decimal, Precision(18, 2)]
    at: datetime
    day: date
    clock: time
    id: UUID
    colour: Colour
    point: Point
    slotted: Slotted
    points: list[Point]
    words: tuple[str, ...]
    prices: dict[str, Annotated[Decimal, Precision(9, 3)]]
    nested: dict[str, list[int]]
    maybe: str | None = None
    either: int | str | Point | None = 5
    other: Colour = Colour.GREEN
    limit: Annotated[Decimal, Precision(18, 2)] = Decimal("-1.28")
    tags: list[str] = field(default_factory=lambda: ["a"])
