"""Clients as the world has them: they send until they are answered, with the same ids, and note what they are told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from evento.client import Client
from evento.errors import EventoError, NotReady, Overloaded, PredecessorRefused, Unreachable
from tests.faults.checker import Final, History, Seen, place_of

Json = dict[str, Any]
BLOCK_LINES = 50
GIVE_UP_S = 300.0  # without any Command that came to its end
IN_FLIGHT_MAX = 2_000  # as a client with bounded memory; more would only wait in buffers
_PAUSE_S = 0.05


class Sender:
    """Sends Commands in streams until each has its end."""

    def __init__(self, url: str, history: History, *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._url = url
        self._history = history
        self._in_flight_max = in_flight_max
        self.on_answer: Callable[[], None] = lambda: None
        self.wait_room: Callable[[], Awaitable[None]] = _no_wait
        self.cut_off = 0  # streams that ended before all their answers had come

    async def send_all(self, commands: Sequence[Json]) -> list[Json]:
        """Send Commands in order, again and again what is not answered or is refused for now, and return the answers in order.

        It is sent again in its order: then what is carried out is in order, too.
        """
        answers: dict[int, Json] = {}
        missing = list(range(len(commands)))
        give_up = time.monotonic() + GIVE_UP_S
        while missing:
            assert time.monotonic() < give_up, f"{len(missing)} of {len(commands)} Commands are not answered"
            for index, answer in await self._attempt([(index, commands[index]) for index in missing]):
                answers[index] = answer
                give_up = time.monotonic() + GIVE_UP_S
            missing = [index for index in missing if index not in answers]
            if missing:
                await asyncio.sleep(_PAUSE_S)
        return [answers[index] for index in range(len(commands))]

    async def send_once(self, commands: Sequence[Json]) -> None:
        """Send Commands in one stream until all are answered or it breaks."""
        await self._attempt(list(enumerate(commands)))

    async def _attempt(self, numbered: Sequence[tuple[int, Json]]) -> list[tuple[int, Json]]:
        attempt = Attempt(numbered, self._history, self._in_flight_max)
        attempt.wait_room = self.wait_room
        try:
            async with Client(self._url) as client:
                async for answer in client.send_many(attempt.lines()):
                    attempt.take(answer)
                    self.on_answer()
        except (Unreachable, NotReady):
            self.cut_off += 1  # nobody knows what became of the rest
        return attempt.ended


class Attempt:
    """One stream of Commands: what is sent, what is heard, and what came to its end."""

    def __init__(self, numbered: Sequence[tuple[int, Json]], history: History, in_flight_max: int) -> None:
        self._numbered = numbered
        self._history = history
        self._in_flight_max = in_flight_max
        self._sent: list[float] = []
        self._heard = 0
        self._room = asyncio.Event()
        self.ended: list[tuple[int, Json]] = []
        self.wait_room: Callable[[], Awaitable[None]] = _no_wait
        self.again: tuple[type[EventoError], ...] = (NotReady, Overloaded, PredecessorRefused)  # refusals that say: later

    async def lines(self) -> AsyncIterator[bytes]:
        """Give the Commands, not more at a time than may be in flight."""
        for start in range(0, len(self._numbered), BLOCK_LINES):
            while len(self._sent) - self._heard >= self._in_flight_max:
                self._room.clear()
                await self._room.wait()
            await self.wait_room()
            part = [command for _, command in self._numbered[start : start + BLOCK_LINES]]
            now = time.monotonic()
            for command in part:
                self._history.invoke(command)
                self._sent.append(now)
            yield "".join(json.dumps(command) + "\n" for command in part).encode()

    def take(self, answer: Json | EventoError) -> None:
        """Hear the next answer."""
        index, command = self._numbered[self._heard]
        sent = self._sent[self._heard]
        self._heard += 1
        self._room.set()
        if isinstance(answer, EventoError):
            self._history.refuse(command, {"code": answer.code, "status": answer.status})
            if not isinstance(answer, self.again):
                raise AssertionError(f"{command} was refused: {answer.code}: {answer.message}")
            return
        assert answer["command_id"] == command["command_id"], f"{answer} is not of {command}"
        self._history.tell(command, answer, sent, time.monotonic())
        if answer["outcome"] not in ("pending", "parked"):
            self.ended.append((index, answer))


async def _no_wait() -> None:
    """Send as fast as may be."""


class Observer:
    """Reads instances one after another while things happen, and notes what it sees."""

    def __init__(self, url: str, history: History, commands: Sequence[Json]) -> None:
        self._url = url
        self._history = history
        self._places = list(dict.fromkeys(place_of(command) for command in commands))

    async def run(self) -> None:
        """Read until cancelled."""
        async with Client(self._url) as client:
            while True:
                for place in self._places:
                    await self._look(client, place)
                    await asyncio.sleep(_PAUSE_S)

    async def _look(self, client: Client, place: tuple[str, str]) -> None:
        asked = time.monotonic()
        try:
            found = await client.get("/".join(place))
        except EventoError:
            return  # down, or not there yet
        self._history.see(Seen(place, found["version"], found["state"], asked, time.monotonic()))


async def read_final(client: Client, *entities: str) -> Final:
    """Return everything there is, as the API tells it."""
    streams, states = {}, {}
    for entity in entities:
        after: str | None = ""
        while after is not None:
            page = await client.instances(entity, after=after, limit=1000)
            for each in page["instances"]:
                place = entity, each["id"]
                states[place] = each["version"], each["state"]
                streams[place] = await read_stream(client, f"{entity}/{each['id']}")
            after = page["next"]
    return Final(streams, states, await read_pending(client))


async def read_stream(client: Client, instance: str) -> list[Json]:
    """Return an instance's whole history."""
    events: list[Json] = []
    after: int | None = 0
    while after is not None:
        page = await client.events(instance, after=after, limit=1000)
        events += page["events"]
        after = page["next"]
    return events


async def read_pending(client: Client) -> list[Json]:
    """Return everything that is not finished."""
    found: list[Json] = []
    after: int | None = 0
    while after is not None:
        page = await client.pending(after=after, limit=1000)
        found += page["pending"]
        after = page["next"]
    return found
