"""Times at the edges: ISO 8601 (and RFC 3339) for people, microseconds since the Unix epoch inside."""

from datetime import UTC, datetime, timedelta

from evento.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
TIME_MAX_US = 253_402_300_799_999_999  # the last microsecond of the year 9999: what ISO 8601 can write


class TimeText:
    """Writes times as ISO 8601 in UTC. Neighbours mostly share their time (that of their commit) or at least its second."""

    def __init__(self) -> None:
        self._time_us: int | None = None
        self._text = ""
        self._second: int | None = None
        self._second_text = ""

    def __call__(self, time_us: int) -> str:
        """Return `time_us` as for example 2026-05-31T12:00:00.000000Z."""
        if time_us != self._time_us:
            second, micros = divmod(time_us, 1_000_000)
            if second != self._second:
                self._second, self._second_text = second, _second_text(second)
            self._time_us, self._text = time_us, f"{self._second_text}.{micros:06d}Z"
        return self._text


def time_text(time_us: int) -> str:
    """Return `time_us` as `TimeText` writes it, for those who are not alone with one: it keeps nothing."""
    second, micros = divmod(time_us, 1_000_000)
    return f"{_second_text(second)}.{micros:06d}Z"


def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()


def parse_time(text: str, field: str) -> int:
    """Return an ISO 8601 time with its offset (`Z` or `+02:00`) in microseconds. Raises InvalidRequest naming `field`."""
    rule = "an ISO 8601 time with an offset, for example 2026-05-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND  # OverflowError: in UTC it is in no year from 1 to 9999
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field} {text[:80]!r}: must be {rule}", field=field, rule=rule, value=text[:80]) from error
