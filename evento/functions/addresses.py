"""Which addresses a function's url may lead to: checked on what the name resolves to, and the connection goes to what was checked.

So no spelling of an address and no answer of a name server leads where it must not (reliability §8). It resolves once per
connection and connects to nothing itself.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from evento.errors import FunctionUnavailable, SettingsError

IP: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
# What a resolver answers, as `getaddrinfo` does: (family, type, protocol, canonical name, socket address), one per address.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]

ALLOWED_DEFAULT = "public private"
_WORDS = ("public", "private", "loopback")
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")  # all that was ever given out of IPv6 to the public

# In this order: the first that an address is in says what it is. What is in none is public, or reserved.
_KINDS: tuple[tuple[str, tuple[Network, ...]], ...] = tuple(
    (kind, tuple(map(ip_network, networks)))
    for kind, networks in (
        # Where clouds tell a machine its secrets. Those of IPv6 and of some providers are private addresses.
        ("metadata", ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254")),
        ("unspecified", ("0.0.0.0/8", "::/128")),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")),
        (
            "reserved",
            ("240.0.0.0/4", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "fec0::/10"),
        ),
    )
)
_NEEDS_NO_OTHER_WORD = ("public", "private", "reserved")


class Guard:
    """Lets pass the addresses of `allowed`: the words public, private and loopback, and networks, separated by spaces or commas.

    A network lets pass what is in it; loopback, link-local and metadata addresses only if it holds nothing else.
    Raises SettingsError.
    """

    def __init__(self, allowed: str = ALLOWED_DEFAULT, resolve: Resolve | None = None) -> None:
        parts = allowed.replace(",", " ").split()
        self._allowed = " ".join(parts)
        self._words = frozenset(part for part in parts if part in _WORDS)
        self._networks = tuple(_network(part) for part in parts if part not in _WORDS)
        self._resolve = resolve or _resolve

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host that may be connected to, in the resolver's order. Raises FunctionUnavailable if none may.

        Raises OSError if the name cannot be resolved.
        """
        found = dict.fromkeys(str(answer[4][0]) for answer in await self._resolve(host, port))
        refused = {address: self.why_not(address) for address in found}
        allowed = [address for address in found if not refused[address]]
        if allowed:
            return allowed
        reasons = "; ".join(refused.values()) or "it has no address"
        raise FunctionUnavailable(f"no connection to {host}:{port} is allowed: {reasons}", final=True)

    def why_not(self, address: str) -> str:
        """Return "" if an address may be connected to, else a sentence that says what to set."""
        ip = _embedded(ip_address(address))
        kind = kind_of(ip)
        if kind in self._words or any(_lets_pass(network, ip, kind) for network in self._networks):
            return ""
        shown = address if str(ip) == address else f"{address}, which is {ip},"
        word = kind if kind in _WORDS else f"{ip}/{ip.max_prefixlen}"
        return f'{shown} is a {kind} address; to allow it, set function_addresses to "{self._allowed} {word}"'


def kind_of(ip: IP) -> str:
    """Return what sort of address this is: public, private, loopback, link-local, metadata, unspecified, multicast or reserved."""
    for kind, networks in _KINDS:
        if any(ip in network for network in networks):
            return kind
    unicast = isinstance(ip, IPv4Address) or ip in _UNICAST
    return "public" if unicast and ip.is_global else "reserved"


def _embedded(ip: IP) -> IP:
    """Return the IPv4 address that an IPv6 address stands for, if it does: mapped, translated or tunnelled."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.scope_id:
        ip = IPv6Address(int(ip))
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def _lets_pass(network: Network, ip: IP, kind: str) -> bool:
    return ip in network and (kind in _NEEDS_NO_OTHER_WORD or any(_is_within(network, other) for other in dict(_KINDS)[kind]))


def _is_within(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        rule = f"must be the words {', '.join(_WORDS)}, or networks such as 10.1.0.0/16, not {text!r}"
        raise SettingsError(f"function_addresses: {rule}", setting="function_addresses", value=text) from error


async def _resolve(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
