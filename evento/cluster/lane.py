"""A stream of Commands to one other node, in order, and their answers as they come: one request that lasts.

A lane does not try again: when it breaks, what was not answered goes back to where it came from.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from evento.cluster.link import Link
from evento.cluster.parcel import Parcel
from evento.cluster.wire import (
    HELLO,
    SENT_BYTES,
    SENT_COMMANDS_MAX,
    TOLD_FRAME_BYTES_MAX,
    Answers,
    Frames,
    Sent,
    decode_answers,
    encode_frame,
    error_of,
)
from evento.errors import EventoError, InvalidRequest, Overloaded, Unreachable

logger = logging.getLogger(__name__)

LANE_COMMANDS_MAX = 10_000  # in a lane and not answered
Learn = Callable[[Any], Awaitable[None]]


class Lane:
    """One lane. `run` is its task; everything else is called from the same event loop."""

    def __init__(self, link: Link, path: str, learn: Learn) -> None:
        """`learn` makes sure that what is told can be told on."""
        self.address = link.address
        self._link = link
        self._path = path
        self._learn = learn
        self._queue: deque[tuple[Parcel, int]] = deque()  # with the round that it was put in for
        self._under_way: dict[int, Parcel] = {}
        self._size = 0
        self._said = 0
        self._taken = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False
        self._failing = False

    # ------------------------------------------------------------ in and out
    def has_room(self) -> bool:
        """Tell whether another Command may be put in."""
        return self._size < LANE_COMMANDS_MAX

    async def wait_room(self) -> None:
        """Wait until there may be room."""
        if not self.has_room():
            self._room.clear()
            await self._room.wait()

    def put(self, parcel: Parcel) -> None:
        """Let a Command go. Raises Overloaded."""
        if not self.has_room():
            raise Overloaded(retry_after_s=1)
        parcel.lane, parcel.way = self, -1
        parcel.route.sent(parcel)
        self._queue.append((parcel, parcel.round))
        self._size += 1
        self._filled.set()

    def give_back(self, parcel: Parcel) -> None:
        """Let a Command go back; whatever is still heard of it here means nothing."""
        place = parcel.way
        self._leave(parcel)
        parcel.route.returned(parcel, taken=0 <= place < self._taken)

    def close(self) -> None:
        """End when everything is answered."""
        self._closed = True
        self._filled.set()

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is in it."""
        return not self._size

    def _leave(self, parcel: Parcel) -> None:
        self._under_way.pop(parcel.way, None)
        parcel.lane = None
        self._size -= 1
        self._room.set()

    # ------------------------------------------------------------ the conversation
    async def run(self) -> None:
        """Carry Commands until closed."""
        while not self._closed:
            await self._filled.wait()
            if self._closed:
                return
            try:
                await self._converse()
                self._failing = False
            except (Unreachable, InvalidRequest) as error:
                logger.log(logging.DEBUG if self._failing else logging.WARNING, "Commands go back: %s", error.message)
                self._failing = True
            self._give_all_back()

    async def _converse(self) -> None:
        self._said = self._taken = 0
        frames = Frames(TOLD_FRAME_BYTES_MAX)
        async with self._link.converse(self._path, self._say()) as parts:
            async for part in parts:
                for frame in frames.feed(part):
                    answers = decode_answers(frame)
                    await self._learn([told.outcome for told in answers.told])
                    self._hear(answers)

    async def _say(self) -> AsyncIterator[bytes]:
        yield HELLO
        while True:
            while not self._queue:
                if self._closed:
                    return
                self._filled.clear()
                await self._filled.wait()
            if batch := self._next_batch():
                yield encode_frame(batch)

    def _next_batch(self) -> list[Sent]:
        batch: list[Sent] = []
        size = 0
        now_s = asyncio.get_running_loop().time()
        while self._queue and len(batch) < SENT_COMMANDS_MAX and size < SENT_BYTES:
            parcel, turn = self._queue.popleft()
            if parcel.lane is not self or parcel.round != turn:
                continue  # it was given back
            parcel.way, parcel.given = self._said, True
            self._under_way[self._said] = parcel
            self._said += 1
            size += len(parcel.command.payload)
            batch.append(Sent(parcel.command, max(0.0, parcel.until_s - now_s), turn))
        return batch

    def _hear(self, answers: Answers) -> None:
        if not self._taken <= answers.taken <= self._said:
            raise InvalidRequest(f"the node {self.address} took {answers.taken} Commands; {self._said} were sent")
        for place in range(self._taken, answers.taken):
            taken = self._under_way.get(place)
            if taken is not None:
                taken.route.taken()
        self._taken = answers.taken
        self._failing = False
        for place in answers.elsewhere:
            if (parcel := self._answered(place)) is not None:
                parcel.route.refused(parcel)
        for told in answers.told:
            if (parcel := self._answered(told.place)) is None:
                continue
            parcel.route.answered(parcel)
            answer = error_of(told.problem) if told.problem is not None else told.outcome
            parcel.finish(answer if answer is not None else EventoError("an owner answered nothing"))

    def _answered(self, place: int) -> Parcel | None:
        if place >= self._taken:
            raise InvalidRequest(f"the node {self.address} answered what it did not take")
        parcel = self._under_way.get(place)
        if parcel is not None:
            self._leave(parcel)
        return parcel

    def _give_all_back(self) -> None:
        queued = [parcel for parcel, turn in self._queue if parcel.lane is self and parcel.round == turn]
        under_way = list(self._under_way.values())
        self._queue.clear()
        for parcel in (*under_way, *queued):
            self.give_back(parcel)
        self._filled.clear()
