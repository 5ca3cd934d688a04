"""A client of the library that threads share: replaced once it is of no use, and ended when nobody uses it any more."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Client = TypeVar("Client")

# Who is in here is not left to the garbage collector. It may run in a thread of the client's own, where an answer is told: there
# the client must not end, and the library ends the process instead (librdkafka 2.16.1).
_open: set[object] = set()


class Shared(Generic[Client]):
    """One client at a time, made when it is first used. Any thread may call."""

    def __init__(self, make: Callable[[], Client], end: Callable[[Client], object]) -> None:
        self._make = make
        self._end = end
        self._lock = Lock()
        self._users = Counter[Client]()
        self._client: Client | None = None

    @contextmanager
    def used(self) -> Iterator[Client]:
        """Give the client for the time of the context."""
        with self._lock:
            if self._client is None:
                self._client = self._make()
                _open.add(self._client)
            client = self._client
            self._users[client] += 1
        try:
            yield client
        finally:
            with self._lock:
                self._users[client] -= 1
            self._end_unused(client)

    def replace(self, client: Client) -> None:
        """Give this client to nobody any more. Whoever uses it may go on."""
        with self._lock:
            if self._client is client:
                self._client = None
        self._end_unused(client)

    def close(self) -> None:
        """End the client, at once or when nobody uses it any more. Who asks for one again is given a new one."""
        if self._client is not None:
            self.replace(self._client)

    def _end_unused(self, client: Client) -> None:
        with self._lock:
            if client is self._client or self._users[client] or client not in _open:
                return
            del self._users[client]
            _open.discard(client)
        self._end(client)
