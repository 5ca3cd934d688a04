"""Logical types as people read and write them: numbers and bytes to text, and text back, exactly. Knows nothing of encodings.

Text that does not say exactly one value of the type is refused with Unfit: nothing is rounded, guessed or cut off.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
from struct import Struct

from evento.schema.binary import LONG_MAX, LONG_MIN
from evento.schema.unfit import Unfit

DECIMAL_DIGITS_MAX = 38
DECIMAL_TEXT_CHARS_MAX = 100
FLOAT_DIGITS_SURE = 15  # as many digits of a JSON number survive a 64-bit float
DAY_S = 86_400
UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date.min.toordinal() - _EPOCH_DAY, date.max.toordinal() - _EPOCH_DAY
_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440))
_SECONDS = tuple(f"{second:02d}" for second in range(60))
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,18}))?)?"
_TIME = re.compile(_CLOCK, re.ASCII)
_LOCAL = re.compile(rf"(\d{{4}}-\d\d-\d\d)[Tt ]{_CLOCK}", re.ASCII)
_INSTANT = re.compile(_LOCAL.pattern + r"(?:[Zz]|([+-])([01]\d|2[0-3]):?([0-5]\d))", re.ASCII)
_DURATION = re.compile(
    r"P(?=.)(?:(\d{1,10})Y)?(?:(\d{1,10})M)?(?:(\d{1,10})W)?(?:(\d{1,10})D)?"
    r"(?:T(?=.)(?:(\d{1,10})H)?(?:(\d{1,10})M)?(?:(\d{1,10})(?:[.,](\d{1,3}))?S)?)?",
    re.ASCII,
)
_UINT32_MAX = (1 << 32) - 1
_DURATION_BYTES = Struct("<III")


@dataclass(frozen=True, slots=True)
class Form:
    """A logical type on int or long: its range, and the way to text and back."""

    kind: str
    low: int
    high: int
    text: Callable[[int], str]
    number: Callable[[str], int]


# ------------------------------------------------------------------ decimal
def decimal_text(number: int, scale: int) -> str:
    """Return an unscaled number as text with `scale` digits behind the point."""
    if not scale:
        return str(number)
    digits = str(abs(number)).rjust(scale + 1, "0")
    return f"{'-' if number < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def decimal_number(value: object, precision: int, scale: int) -> int:
    """Return the unscaled number that a text or a number says, exactly. Raises Unfit."""
    if type(value) is str:
        negative = value[:1] == "-"
        whole, _, fraction = value[negative:].partition(".")
        digits = whole + fraction.ljust(scale, "0")
        if len(digits) <= precision and len(fraction) <= scale and whole and digits.isdecimal() and digits.isascii():
            quick = int(digits)
            return -quick if negative else quick
    sign, digits_of, exponent = _exact(value).as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > DECIMAL_TEXT_CHARS_MAX or len(digits_of) > DECIMAL_TEXT_CHARS_MAX:
        raise Unfit("must be a decimal number", value)
    unscaled, lost = _shifted(digits_of, exponent + scale)
    if lost:
        raise Unfit(f"must have at most {scale} digits behind the point", value)
    if unscaled >= 10**precision:
        raise Unfit(f"must have at most {precision} digits, {scale} of them behind the point", value)
    return -unscaled if sign else unscaled


def _shifted(digits: tuple[int, ...], shift: int) -> tuple[int, int]:
    number = int("".join(map(str, digits)))
    return (number * 10**shift, 0) if shift >= 0 else divmod(number, 10**-shift)


def _exact(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise Unfit("must be a decimal number, as text or as a number", value)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and value.bit_length() > 4 * DECIMAL_TEXT_CHARS_MAX:
        raise Unfit(f"must have at most {DECIMAL_DIGITS_MAX} digits", value)
    text = repr(value) if isinstance(value, float) else str(value)
    if len(text) > DECIMAL_TEXT_CHARS_MAX or not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII):
        raise Unfit("must be a decimal number", value)
    number = Decimal(text)
    if isinstance(value, float) and len(number.normalize().as_tuple().digits) > FLOAT_DIGITS_SURE:
        raise Unfit(f"must be written as text: a number with more than {FLOAT_DIGITS_SURE} digits is not exact in JSON", value)
    return number


# ------------------------------------------------------------------ date and time
@lru_cache(maxsize=4096)
def date_text(day: int) -> str:
    """Return days since 1970-01-01 as ISO 8601."""
    return date.fromordinal(day + _EPOCH_DAY).isoformat()


@lru_cache(maxsize=4096)
def date_number(text: str) -> int:
    """Return a date of the form 2026-11-23 as days since 1970-01-01. Raises Unfit."""
    match = _DATE.fullmatch(text)
    if match:
        try:
            return date(*map(int, match.groups())).toordinal() - _EPOCH_DAY
        except ValueError:
            pass  # such as 30 February; refused below like every other text
    raise Unfit("must be a date as 2026-11-23", text)


def _time_text(number: int, *, per_s: int, digits: int) -> str:
    second, fraction = divmod(number, per_s)
    text = _MINUTES[second // 60] + _SECONDS[second % 60]
    return f"{text}.{fraction:0{digits}d}" if fraction else text


def _instant_text(per_s: int, digits: int, zone: str) -> Callable[[int], str]:
    plain, fine = f"%sT%s%s{zone}", f"%sT%s%s.%0{digits}d{zone}"

    def text(number: int) -> str:
        second, fraction = divmod(number, per_s)
        day, second = divmod(second, DAY_S)
        if fraction:
            return fine % (date_text(day), _MINUTES[second // 60], _SECONDS[second % 60], fraction)
        return plain % (date_text(day), _MINUTES[second // 60], _SECONDS[second % 60])

    return text


def _clock_number(match: re.Match[str], first: int, digits: int) -> int:
    hour, minute, second, fraction = match.group(first, first + 1, first + 2, first + 3)
    whole: int = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    part = (fraction or "").rstrip("0")
    if len(part) > digits:
        raise Unfit(f"must have at most {digits} digits of a second", match.string)
    return whole * int(10**digits) + int(part.ljust(digits, "0") or 0)


def _time_number(text: str, *, digits: int) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise Unfit("must be a time as 13:30:00", text)
    return _clock_number(match, 1, digits)


def _local_number(text: str, *, digits: int) -> int:
    match = _LOCAL.fullmatch(text)
    if not match:
        raise Unfit("must be a date and time without a zone, as 2026-11-23T13:30:00", text)
    return date_number(match[1]) * DAY_S * int(10**digits) + _clock_number(match, 2, digits)


def _instant_number(text: str, *, digits: int) -> int:
    match = _INSTANT.fullmatch(text)
    if not match:
        raise Unfit("must be a date and time with a zone, as 2026-11-23T13:30:00Z or +01:00", text)
    number = date_number(match[1]) * DAY_S * int(10**digits) + _clock_number(match, 2, digits)
    if not match[6]:
        return number
    offset = (int(match[7]) * 60 + int(match[8])) * 60 * int(10**digits)
    return number - offset if match[6] == "+" else number + offset


def _forms() -> dict[str, Form]:
    forms = {"date": Form("int", _FIRST_DAY, _LAST_DAY, date_text, date_number)}
    for unit, digits in (("millis", 3), ("micros", 6), ("nanos", 9)):
        per_s = 10**digits
        low, high = max(LONG_MIN, _FIRST_DAY * DAY_S * per_s), min(LONG_MAX, (_LAST_DAY + 1) * DAY_S * per_s - 1)
        for name, zone, number in (("timestamp", "Z", _instant_number), ("local-timestamp", "", _local_number)):
            text = _instant_text(per_s, digits, zone)
            forms[f"{name}-{unit}"] = Form("long", low, high, text, partial(number, digits=digits))
        if unit != "nanos":
            time_text, time_number = partial(_time_text, per_s=per_s, digits=digits), partial(_time_number, digits=digits)
            forms[f"time-{unit}"] = Form("int" if unit == "millis" else "long", 0, DAY_S * per_s - 1, time_text, time_number)
    return forms


FORMS = _forms()


# ------------------------------------------------------------------ uuid and duration
def uuid_text(data: bytes) -> str:
    """Return 16 bytes as a UUID's text."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid_number(text: str) -> str:
    """Return a UUID's text in lower case. Raises Unfit."""
    lower = text.lower()
    if not UUID_TEXT.fullmatch(lower):
        raise Unfit("must be a UUID as 123e4567-e89b-12d3-a456-426614174000", text)
    return lower


def duration_text(data: bytes) -> str:
    """Return the 12 bytes of a duration as ISO 8601, in months, days and seconds."""
    months, days, millis = _DURATION_BYTES.unpack(data)
    second, fraction = divmod(millis, 1000)
    clock = f"T{second}.{fraction:03d}S" if fraction else f"T{second}S" if second else ""
    return f"P{f'{months}M' if months else ''}{f'{days}D' if days or not (months or clock) else ''}{clock}"


def duration_bytes(value: object) -> bytes:
    """Return the 12 bytes that an ISO 8601 duration or {months, days, millis} says. Raises Unfit."""
    if isinstance(value, dict) and value.keys() <= {"months", "days", "millis"}:
        parts = [value.get(name, 0) for name in ("months", "days", "millis")]
    else:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise Unfit("must be a duration as P1M2DT3.5S, or {months, days, millis}", value)
        year, month, week, day, hour, minute, second = (int(match[n] or 0) for n in range(1, 8))
        millis = ((hour * 60 + minute) * 60 + second) * 1000 + int((match[8] or "").ljust(3, "0"))
        parts = [year * 12 + month, week * 7 + day, millis]
    if not all(type(part) is int and 0 <= part <= _UINT32_MAX for part in parts):
        raise Unfit(f"must have months, days and milliseconds from 0 to {_UINT32_MAX} each", value)
    return _DURATION_BYTES.pack(*parts)
