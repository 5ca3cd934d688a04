"""What a node lets other nodes do, and how it knows that they are nodes. Knows requests' parts, not how they travel."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address

from evento.clock import Clock
from evento.cluster.performing import perform
from evento.cluster.reception import Reception
from evento.cluster.signature import NONCE_BYTES, SIGNATURE_HEADER, Seals, check, sign
from evento.cluster.wire import MEDIA_TYPE, decode_ask, encode_reply
from evento.engine.engine import Engine
from evento.errors import EventoError, InvalidRequest, NotReady, Overloaded, UnsupportedEncoding
from evento.journal.base import Journal
from evento.reads.reader import Reader

RECEPTIONS_MAX = 512
ASKS_MAX = 256
LINGER_S = 3.0  # for what is under way when this node stops
# Whoever passes requests on adds one of these: such a request is from anywhere, whatever its connection says.
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Credentials:
    """How requests between nodes are signed. Without a secret only nodes on the same machine are believed."""

    def __init__(self, secret: str, address: str, clock: Clock, chance: Callable[[int], bytes]) -> None:
        """`address` is this node's, as the others know it; `chance` gives so many bytes that nobody can foresee."""
        self._secret = secret
        self.address = address
        self._clock = clock
        self._chance = chance

    def sign(self, address: str, path: str, body: bytes | None) -> tuple[Mapping[str, str], Seals]:
        """Return the headers for a request to another node, and the seals of what lasts; `body` is None if it has no end."""
        now_us, nonce = self._clock.now_us(), self._chance(NONCE_BYTES)
        signature = sign(self._secret, address=address, path=path, body=body, now_us=now_us, nonce=nonce)
        return {SIGNATURE_HEADER: signature}, Seals.of(self._secret, signature)

    def check(self, headers: Mapping[str, str], path: str, host: str, body: bytes | None) -> Seals:
        """Check that a request from the host is another node's, and return its seals. Raises InvalidRequest."""
        given = headers.get(SIGNATURE_HEADER, "")
        if self._secret:
            check(self._secret, given, address=self.address, path=path, body=body, now_us=self._clock.now_us())
        elif not _is_loopback(host) or any(name in headers for name in _PASSED_ON):
            raise InvalidRequest("nodes on other machines need the setting cluster_secret, the same on all nodes")
        return Seals.of(self._secret, given)


class Peering:
    """Serves other nodes."""

    def __init__(self, journal: Journal, engine: Engine, reader: Reader, credentials: Credentials) -> None:
        self._journal = journal
        self._engine = engine
        self._reader = reader
        self._credentials = credentials
        self._receptions = 0
        self._asks = 0
        self.stopping = asyncio.Event()

    def admit(self, headers: Mapping[str, str], path: str, host: str, body: bytes | None) -> Seals:
        """Check that a request is another node's, and return its seals; `body` is None if it has no end.

        Raises InvalidRequest, UnsupportedEncoding.
        """
        seals = self._credentials.check(headers, path, host, body)
        if headers.get("content-type") != MEDIA_TYPE:  # no page in a browser can say so without being asked first
            raise UnsupportedEncoding(f"content-type must be {MEDIA_TYPE}", field="content-type", rule=MEDIA_TYPE)
        return seals

    @contextmanager
    def receive(self, *, patient: bool) -> Iterator[Reception]:
        """Give the reception of a lane, for as long as its request lasts. Raises Overloaded."""
        if self._receptions >= RECEPTIONS_MAX:
            raise Overloaded(retry_after_s=1)
        self._receptions += 1
        try:
            yield Reception(self._engine, self._journal, patient=patient)
        finally:
            self._receptions -= 1

    async def answer(self, body: bytes) -> bytes:
        """Answer what another node asks. Raises InvalidRequest, Overloaded."""
        ask = decode_ask(body)
        if self._asks >= ASKS_MAX:
            raise Overloaded(retry_after_s=1)
        self._asks += 1
        try:
            return encode_reply(await perform(ask, self._engine, self._reader))
        except NotReady:
            return encode_reply(elsewhere=True)
        except EventoError as error:
            return encode_reply(problem=error)
        finally:
            self._asks -= 1


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
