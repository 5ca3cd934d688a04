"""What is served to other nodes: who is believed to be one, and what becomes of what is not as it should be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_bytes

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from evento.bootstrap import credentials_of
from evento.cluster.link import is_address, open_links
from evento.cluster.peering import Credentials
from evento.cluster.signature import SKEW_MAX_S, TAG_BYTES, Seal, Seals
from evento.cluster.wire import (
    ASKS_PATH,
    HELLO,
    MEDIA_TYPE,
    PATHS,
    SENT_COMMANDS_MAX,
    SENT_FRAME_BYTES_MAX,
    SINGLES_PATH,
    STREAMS_PATH,
    TOLD_FRAME_BYTES_MAX,
    Answers,
    AskOutcome,
    AskState,
    Frames,
    Problem,
    Sent,
    decode_answers,
    decode_ask,
    decode_reply,
    decode_sent,
    encode_ask,
    encode_frame,
    encode_reply,
    error_of,
    framed,
    problem_of,
)
from evento.errors import EventoError, InvalidRequest, Overloaded, SettingsError, Unreachable, UnsupportedEncoding
from evento.model.command import Command, Context
from evento.model.keys import EntityKey
from evento.settings import Settings
from tests.cluster.members import SECRET, WAIT_S, Cluster, Member, cluster_of

US = 1_000_000
HERE = "http://10.0.0.1:7070"


class Clock:
    def __init__(self, now_s: int = 1_800_000_000) -> None:
        self.now_s = now_s

    def now_us(self) -> int:
        return self.now_s * US

    async def sleep(self, delay_s: float) -> None:
        raise NotImplementedError


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_of(tmp_path) as running:
        yield running


# ------------------------------------------------------------------ who is believed
def test_a_signed_request_is_believed_by_the_node_that_it_is_for() -> None:
    clock = Clock()
    here, there = Credentials(SECRET, HERE, clock, token_bytes), Credentials(SECRET, "http://10.0.0.2:7070", clock, token_bytes)
    for body in (None, b"", b"a question"):
        headers, _ = there.sign(HERE, "/peer/asks", body)
        here.check(headers, "/peer/asks", "10.0.0.2", body)


@pytest.mark.parametrize("late_s", [SKEW_MAX_S + 1, -SKEW_MAX_S - 1])
def test_a_signature_is_good_for_a_short_while(late_s: int) -> None:
    clock = Clock()
    here = Credentials(SECRET, HERE, clock, token_bytes)
    headers, _ = here.sign(HERE, "/peer/asks", None)
    clock.now_s += late_s
    with pytest.raises(InvalidRequest, match="clocks"):
        here.check(headers, "/peer/asks", "10.0.0.2", None)


@pytest.mark.parametrize(
    ("secret", "address", "path", "body"),
    [
        ("another secret of another", HERE, "/peer/asks", b"a question"),
        (SECRET, "http://10.0.0.3:7070", "/peer/asks", b"a question"),
        (SECRET, HERE, "/peer/commands", b"a question"),
        (SECRET, HERE, "/peer/asks", b"another question"),
        (SECRET, HERE, "/peer/asks", None),
    ],
)
def test_a_signature_of_another_secret_for_another_node_path_or_body_is_not_believed(
    secret: str, address: str, path: str, body: bytes | None
) -> None:
    headers, _ = Credentials(secret, "http://10.0.0.2:7070", Clock(), token_bytes).sign(address, path, body)
    with pytest.raises(InvalidRequest, match="not signed") as refused:
        Credentials(SECRET, HERE, Clock(), token_bytes).check(headers, "/peer/asks", "127.0.0.1", b"a question")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "given", ["", ".", "x", "1.", ".1", "9" * 5000, "1800000000.é", "1800000000." + "0" * 64, "-5." + "0" * 64]
)
def test_nonsense_is_no_signature(given: str) -> None:
    with pytest.raises(InvalidRequest):
        Credentials(SECRET, HERE, Clock(), token_bytes).check({"evento-peer": given}, "/peer/asks", "127.0.0.1", None)


FRAMES = [encode_frame(Answers(number)) for number in range(4)]


def tagged(seals: Seals, frames: list[bytes]) -> list[bytes]:
    return [frame + seals.said.tag(frame) for frame in frames]


def cut(seal: Seal, stream: bytes) -> list[int]:
    return [decode_answers(frame).taken for frame in Frames(1000, seal).feed(HELLO + stream)]


def test_frames_are_believed_in_their_place_of_their_request_and_direction_alone() -> None:
    headers, seals = Credentials(SECRET, "http://10.0.0.2:7070", Clock(), token_bytes).sign(HERE, STREAMS_PATH, None)
    first, second, third, fourth = tagged(seals, FRAMES)

    def there() -> Seals:
        return Credentials(SECRET, HERE, Clock(), token_bytes).check(headers, STREAMS_PATH, "10.0.0.2", None)

    assert cut(there().said, first + second + third + fourth) == [0, 1, 2, 3]
    wrong = {
        "repeated": first + first,
        "left out": first + third,
        "in another order": second + first,
        "changed": first[:5] + b"\x07" + first[6:],
        "without a tag": FRAMES[0] + FRAMES[1] + FRAMES[2],
    }
    for stream in wrong.values():
        with pytest.raises(InvalidRequest, match="not signed"):
            cut(there().said, stream)
    with pytest.raises(InvalidRequest, match="not signed"):
        cut(there().answered, first)
    other, _ = Credentials(SECRET, "http://10.0.0.2:7070", Clock(), token_bytes).sign(HERE, STREAMS_PATH, None)
    assert other != headers, "of the same second; what was said in one must not be believed in the other"
    with pytest.raises(InvalidRequest, match="not signed"):
        cut(Credentials(SECRET, HERE, Clock(), token_bytes).check(other, STREAMS_PATH, "10.0.0.2", None).said, first)


def test_without_a_secret_only_this_machine_is_believed() -> None:
    here = Credentials("", HERE, Clock(), token_bytes)
    for host in ("127.0.0.1", "127.9.9.9", "::1"):
        here.check({}, "/peer/asks", host, None)
    for host in ("10.0.0.2", "::ffff:10.0.0.2", "2001:db8::1", "", "localhost"):
        with pytest.raises(InvalidRequest, match="cluster_secret"):
            here.check({}, "/peer/asks", host, None)
    for passed_on in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        with pytest.raises(InvalidRequest, match="cluster_secret"):
            here.check({passed_on: "10.0.0.2"}, "/peer/asks", "127.0.0.1", None)


async def test_nobody_but_a_node_is_served(cluster: Cluster) -> None:
    for path in PATHS:
        url = cluster.members[0].url + path
        async with cluster.session.post(url, data=HELLO, headers={"content-type": MEDIA_TYPE}) as response:
            assert (response.status, (await response.json())["code"]) == (400, "invalid-request")
        async with cluster.session.get(url, headers=signed(cluster.members[0], path)) as response:
            assert response.status == 405
        headers = {**signed(cluster.members[0], path), "content-type": "text/plain"}
        async with cluster.session.post(url, data=HELLO, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (415, UnsupportedEncoding.code)


async def test_a_node_with_another_secret_is_in_no_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.cluster.asking.OWNER_WAIT_S", 3.0)
    stranger = await cluster.join(secret="the secret of somebody else")  # noqa: S106
    status, told = await cluster.get(stranger, "/v1/tests/Counter/c1")
    assert status == 503 and "not signed" in told["detail"], told


def signed(member: Member, path: str, body: bytes = HELLO) -> dict[str, str]:
    return sealing(member, path, body)[0]


def sealing(member: Member, path: str, body: bytes) -> tuple[dict[str, str], Seals]:
    assert member.node is not None
    whole = body if path == ASKS_PATH else None
    headers, seals = Credentials(SECRET, "http://127.0.0.1:1", member.node.clock, token_bytes).sign(member.url, path, whole)
    return {**headers, "content-type": MEDIA_TYPE}, seals


# ------------------------------------------------------------------ what is not as it should be
async def said(cluster: Cluster, path: str, body: bytes) -> bytes:
    """Say something to the first node, and return all that it says before it ends."""
    member = cluster.members[0]
    headers, seals = sealing(member, path, body)
    if path != ASKS_PATH and len(body) > 1:
        body += seals.said.tag(body[1:])
    heard = await answered(cluster, path, body, headers)
    if path == ASKS_PATH:
        seals.answered.check(heard[:-TAG_BYTES], heard[-TAG_BYTES:])
        return heard[:-TAG_BYTES]
    return HELLO + b"".join(map(framed, Frames(TOLD_FRAME_BYTES_MAX, seals.answered).feed(heard)))


async def answered(cluster: Cluster, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    heard = b""
    try:
        async with cluster.session.post(cluster.members[0].url + path, data=body, headers=headers) as response:
            async for part in response.content.iter_any():
                heard += part
    except aiohttp.ClientError:
        pass
    return heard


async def test_what_was_changed_on_its_way_is_not_done(cluster: Cluster) -> None:
    member = cluster.members[0]
    good = command_for(cluster, keys_at(cluster, here=True)[0])
    frame = encode_frame([Sent(good, 5.0, 0)])
    for changed in (frame, frame.replace(b"good", b"evil")):
        headers, seals = sealing(member, SINGLES_PATH, b"")
        tag = seals.said.tag(frame)
        heard = await answered(cluster, SINGLES_PATH, HELLO + changed + tag, headers)
        taken = [decode_answers(each).taken for each in Frames(TOLD_FRAME_BYTES_MAX, seals.answered).feed(heard)]
        assert max(taken, default=0) == (1 if changed is frame else 0), taken
    assert [turn.command.id for turn in cluster.shared.turns()] == ["good"]
    ask = encode_ask(AskOutcome(good.key, "good"))
    told = await answered(cluster, ASKS_PATH, ask.replace(b"good", b"evil"), signed(member, ASKS_PATH, ask))
    assert b"not signed" in told


async def test_an_answer_that_no_node_gave_is_not_believed() -> None:
    async def lie(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(
            body=encode_reply(7) if request.path == ASKS_PATH else HELLO + encode_frame(Answers(1)) + bytes(TAG_BYTES)
        )

    async def said_to_it() -> AsyncIterator[bytes]:
        yield HELLO

    server = TestServer(web.Application())
    server.app.router.add_post("/{path:.*}", lie)
    async with server, open_links(Credentials(SECRET, HERE, Clock(), token_bytes).sign) as make_link:
        link = make_link(f"http://127.0.0.1:{server.port}")
        with pytest.raises(InvalidRequest, match="not signed"):
            await link.ask(AskState(EntityKey("tests", "Counter", "c1")))
        heard = b""
        async with link.converse(STREAMS_PATH, said_to_it()) as parts:
            with pytest.raises(InvalidRequest, match="not signed"):
                async for part in parts:
                    heard += part
        assert heard == HELLO


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        HELLO + b"\xff\xff\xff\xff",
        HELLO + (SENT_FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        HELLO + b"\x00\x00\x00\x01\xc1",
        HELLO + b"\x00\x00\x00\x06" + b"\xdd\xff\xff\xff\xff\x00",
        HELLO + encode_frame(msgspec.Raw(b"\x91" * 3000 + b"\x90")),
        HELLO + encode_frame([["not a command", 1.0, 0]]),
    ],
)
async def test_what_is_no_frame_ends_the_lane_and_nothing_else(cluster: Cluster, body: bytes) -> None:
    for path in (SINGLES_PATH, STREAMS_PATH):
        async with asyncio.timeout(WAIT_S):
            answer = await said(cluster, path, body)
        assert all(not decode_answers(frame).taken for frame in Frames(TOLD_FRAME_BYTES_MAX).feed(answer))
    assert (await cluster.count(cluster.members[0], "c1", 1))[0] == 200


def keys_at(cluster: Cluster, *, here: bool) -> list[EntityKey]:
    node = cluster.members[0].node
    assert node is not None
    keys = (EntityKey("tests", "Counter", f"c{number}") for number in range(100))
    return [key for key in keys if (node.engine.worker(node.journal.partition_of(key)) is not None) == here]


def command_for(cluster: Cluster, key: EntityKey) -> Command:
    node = cluster.members[0].node
    assert node is not None
    spec = node.catalog.command("tests", "Counter", "Count")
    return Command("good", key, "Count", spec.schema_id, node.catalog.schema(spec.schema_id).from_json({"by": 3}), 1)


async def test_a_command_that_is_not_as_it_should_be_costs_only_itself(cluster: Cluster) -> None:
    key = keys_at(cluster, here=True)[0]
    good, replace = command_for(cluster, key), msgspec.structs.replace
    bad = [
        ("payload-refused", replace(good, id="a", payload=good.payload + b"\x00")),
        ("invalid-name", replace(good, id="an id with spaces")),
        ("not-found", replace(good, id="b", schema_id=77)),
        ("not-found", replace(good, id="c", type="Unheard")),
        ("not-found", replace(good, id="d", key=EntityKey("tests", "Unheard", key.id))),
        ("too-large", replace(good, id="e", payload=bytes(256 * 1024 + 1))),
        ("invalid-request", replace(good, id="f", context=Context(correlation_id="x" * 257))),
        ("invalid-request", replace(good, id="g", accepted_us=-1)),
        ("invalid-name", replace(good, id="h", key=EntityKey("tests", "Counter", "a/b"))),
    ]
    frame = encode_frame([Sent(command, 5.0, 0) for command in (*(command for _, command in bad), good)])
    frames = [decode_answers(each) for each in Frames(TOLD_FRAME_BYTES_MAX).feed(await said(cluster, SINGLES_PATH, HELLO + frame))]
    told = {each.place: each for answers in frames for each in answers.told}
    assert frames[-1].taken == len(bad) + 1
    assert [told[place].problem.code for place in range(len(bad))] == [code for code, _ in bad]
    assert told[len(bad)].outcome.turn.events
    assert [turn.command.id for turn in cluster.shared.turns()] == ["good"]


async def test_what_is_not_here_is_never_sent_on(cluster: Cluster) -> None:
    away = keys_at(cluster, here=False)[0]
    answers = await said(cluster, SINGLES_PATH, HELLO + encode_frame([Sent(command_for(cluster, away), 5.0, 0)]))
    assert next(decode_answers(frame) for frame in Frames(TOLD_FRAME_BYTES_MAX).feed(answers)).elsewhere == [0]
    assert decode_reply(await said(cluster, ASKS_PATH, encode_ask(AskState(away)))).elsewhere
    assert decode_reply(await said(cluster, ASKS_PATH, encode_ask(AskOutcome(away, "a")))).elsewhere
    assert cluster.shared.turns() == []


def test_a_frame_comes_whole_however_it_is_cut() -> None:
    stream = HELLO + b"".join(encode_frame(Answers(number, [], [number])) for number in range(5))
    for size in range(1, 30):
        cutter = Frames(1000)
        cut = [frame for at in range(0, len(stream), size) for frame in cutter.feed(stream[at : at + size])]
        assert [decode_answers(frame).taken for frame in cut] == [0, 1, 2, 3, 4]


def test_what_a_frame_may_hold_is_bounded() -> None:
    command = Command("a", EntityKey("n", "E", "i"), "T", 1, b"", 1)
    with pytest.raises(InvalidRequest, match="more than"):
        decode_sent(encode_frame([Sent(command, 1.0, 0)] * (SENT_COMMANDS_MAX + 1))[4:])
    with pytest.raises(InvalidRequest, match="format"):
        decode_ask(b"\x01\x90")


def test_an_error_crosses_the_wire_as_what_it_is() -> None:
    error = error_of(problem_of(Overloaded("full", retry_after_s=1)))
    assert (type(error), error.message, error.details) == (Overloaded, "full", {"retry_after_s": 1})
    assert type(error_of(Problem("of-the-future", "what?"))) is Unreachable
    hostile = error_of(Problem("not-found", "no", {"message": "x", "self": "y", "name": "z"}))
    assert isinstance(hostile, EventoError) and hostile.details == {"name": "z"}


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize("address", ["http://n1:7070", "https://n1", "http://[::1]:7070", "http://10.0.0.7:1"])
def test_an_address_is_a_url_without_more(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "rdkafka",
        "n1:7070",
        "ftp://n1",
        "http://",
        "http://n1/path",
        "http://u@n1",
        "http://n1?x",
        "http://n1:99999",
        "http://n1:0",
    ],
)
def test_anything_else_is_no_address(address: str) -> None:
    assert not is_address(address)


def test_a_node_that_listens_everywhere_must_say_where_it_is() -> None:
    assert credentials_of(Settings()).address == "http://127.0.0.1:7070"
    assert credentials_of(Settings(host="::", advertise="http://n1:7070/")).address == "http://n1:7070"
    everywhere = ("0.0.0.0", "::")  # noqa: S104
    for settings in (*(Settings(host=host) for host in everywhere), Settings(port=0), Settings(advertise="n1")):
        with pytest.raises(SettingsError, match="advertise"):
            credentials_of(settings)
