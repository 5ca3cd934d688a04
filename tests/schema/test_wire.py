"""Framing: the Confluent wire format and Avro's single-object encoding."""

import pytest

from evento.errors import PayloadRefused
from evento.schema import pack_confluent, pack_single_object, parse_schema, unpack_confluent, unpack_single_object


def test_confluent_framing_is_a_zero_byte_and_a_big_endian_id():
    assert pack_confluent(258, b"body") == b"\x00\x00\x00\x01\x02body"
    assert unpack_confluent(b"\x00\x00\x00\x01\x02body") == (258, b"body")


@pytest.mark.parametrize("message", [b"", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00\x01body", b"\x00\xff\xff\xff\xffbody"])
def test_what_is_not_confluent_framing_is_refused(message):
    with pytest.raises(PayloadRefused):
        unpack_confluent(message)


def test_single_object_framing_has_the_mark_and_the_little_endian_fingerprint():
    schema = parse_schema("int")
    message = pack_single_object(schema.fingerprint, b"\x02")
    assert message == b"\xc3\x01" + (8247732601305521295).to_bytes(8, "little") + b"\x02"
    assert unpack_single_object(message) == (schema.fingerprint, b"\x02")


@pytest.mark.parametrize("message", [b"", b"\xc3\x01", b"\xc3\x02" + b"\0" * 9, b"\xc3\x01" + b"\0" * 7])
def test_what_is_not_single_object_framing_is_refused(message):
    with pytest.raises(PayloadRefused):
        unpack_single_object(message)
