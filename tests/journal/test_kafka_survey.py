"""How far partitions reach, as the client library tells it."""

import pytest
from confluent_kafka.admin import ListOffsetsResultInfo

from evento.journal.kafka.survey import check_told


def told(offset: int) -> ListOffsetsResultInfo:
    return ListOffsetsResultInfo(offset, -1, 0)  # type: ignore[no-untyped-call]


def test_an_answer_without_an_offset_is_none() -> None:
    check_told([])
    check_told([told(0), told(7)])
    with pytest.raises(TimeoutError):
        check_told([told(0), told(-1001)])
