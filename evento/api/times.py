"""Times at the edge: ISO 8601 for people, microseconds since the Unix epoch inside. Pure."""

import time
from datetime import UTC, datetime, timedelta

from evento.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class TimeText:
    """Writes times as ISO 8601 in UTC. Neighbours mostly share their time (that of their commit) or at least its second."""

    def __init__(self) -> None:
        self._time_us = -1
        self._text = ""
        self._second = -1
        self._second_text = ""

    def __call__(self, time_us: int) -> str:
        """Return `time_us` as for example 2026-05-31T12:00:00.000000Z."""
        if time_us != self._time_us:
            second, micros = divmod(time_us, 1_000_000)
            if second != self._second:
                self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._time_us, self._text = time_us, f"{self._second_text}.{micros:06d}Z"
        return self._text


def parse_time(text: str, field: str) -> int:
    """Return an ISO 8601 time with its offset (`Z` or `+02:00`) in microseconds. Raises InvalidRequest naming `field`."""
    rule = "an ISO 8601 time with an offset, for example 2026-05-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field} {text[:80]!r}: must be {rule}", field=field, rule=rule, value=text[:80]) from error
