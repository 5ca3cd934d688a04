"""Where a function's url may lead (catalogue 71): decided on resolved addresses, and connected to what was decided on."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from bad_servers import answer, one, read_request, spec

from evento.clock import SystemClock
from evento.errors import FunctionUnavailable, InvalidFunctionResult, SettingsError
from evento.functions.addresses import ALLOWED_DEFAULT, Guard, kind_of
from evento.functions.base import Operation
from evento.functions.connection import Address, connect
from evento.functions.runtimes import UrlRuntime

EVERY_WORD = "public private loopback"


def resolving(*addresses: str, asked: list[str] | None = None) -> Any:
    """Return a resolver that answers as `getaddrinfo` does."""

    async def resolve(host: str, port: int) -> Sequence[tuple[Any, ...]]:
        if asked is not None:
            asked.append(host)
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses]

    return resolve


KINDS = {
    "metadata": ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
    "loopback": ["127.0.0.1", "127.255.1.2", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1", "2002:7f00:1::"],
    "link-local": ["169.254.0.7", "fe80::1", "fe80::1%1", "::ffff:169.254.1.1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"],  # noqa: S104 - not listened at
    "multicast": ["224.0.0.1", "239.1.1.1", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "2001:db8::1", "fec0::1", "::7f00:1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"],
    "public": ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"],
}
CASES = [(kind, address) for kind, addresses in KINDS.items() for address in addresses]


@pytest.mark.parametrize(("kind", "address"), CASES)
def test_by_default_only_public_and_private_addresses_are_let_pass(kind: str, address: str) -> None:
    why_not = Guard().why_not(address)
    assert (why_not == "") == (kind in ("public", "private")), why_not
    if why_not:
        assert f"is a {kind} address" in why_not and "function_addresses" in why_not


@pytest.mark.parametrize(("kind", "address"), CASES)
def test_what_an_error_says_to_set_helps(kind: str, address: str) -> None:
    """A person reads the error, sets what it says, and it works; for everything that one can connect to."""
    why_not = Guard("public").why_not(address)
    if why_not:
        assert Guard(why_not.rpartition(' to "')[2].removesuffix('"')).why_not(address) == ""


@pytest.mark.parametrize("address", [*KINDS["loopback"], *KINDS["link-local"], *KINDS["metadata"], *KINDS["multicast"]])
def test_a_wide_network_does_not_let_pass_what_must_be_named(address: str) -> None:
    assert Guard("0.0.0.0/0 ::/0 100.64.0.0/10 fc00::/7").why_not(address)


def test_a_network_for_link_local_addresses_is_none_for_the_metadata_in_it() -> None:
    guard = Guard("169.254.0.0/16")
    assert guard.why_not("169.254.1.1") == "" and guard.why_not("169.254.169.254")


def test_networks_let_pass_what_is_in_them_alone() -> None:
    guard = Guard("10.1.0.0/16, 127.0.0.1/32  2001:db8::/32")
    for address in ("10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1", "2001:db8::7"):
        assert guard.why_not(address) == ""
    for address in ("10.2.0.1", "127.0.0.2", "::1", "1.1.1.1"):
        assert guard.why_not(address)


def test_nothing_allowed_is_nothing() -> None:
    assert all(Guard("").why_not(address) for _, address in CASES)


@pytest.mark.parametrize("allowed", ["everything", "10.0.0.0/33", "10.0.0.1/8", "localhost", "public;private", "link-local"])
def test_a_setting_that_is_wrong_is_told(allowed: str) -> None:
    with pytest.raises(SettingsError, match="function_addresses: must be the words public, private, loopback, or networks"):
        Guard(allowed)


def test_what_python_calls_global_is_public() -> None:
    assert kind_of(ip_address("8.8.8.8")) == "public"


async def test_the_allowed_of_several_addresses_are_taken_in_order() -> None:
    guard = Guard(resolve=resolving("127.0.0.1", "10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"))
    assert list(await guard.addresses("f", 80)) == ["10.0.0.2", "10.0.0.1"]


async def test_a_name_with_no_allowed_address_is_refused_with_each_reason() -> None:
    with pytest.raises(FunctionUnavailable, match=r"to f:80 is allowed: 127.0.0.1 is a loopback .*; fe80::1 is a link-l"):
        await Guard(resolve=resolving("127.0.0.1", "fe80::1")).addresses("f", 80)
    with pytest.raises(FunctionUnavailable, match="it has no address"):
        await Guard(resolve=resolving()).addresses("f", 80)


async def listening() -> tuple[asyncio.Server, int, list[bytes]]:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        heads.append(b"called")
        writer.write(answer(b"", "302 Found", "Location: http://127.0.0.1:1/evento\r\n"))
        writer.close()

    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], heads


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost"])
async def test_no_spelling_of_loopback_is_connected_to(host: str) -> None:
    """With the machine's own resolver, against a server that listens there."""
    server, port, heads = await listening()
    async with server, UrlRuntime(SystemClock()).serve(spec(url=f"http://{host}:{port}")) as function:
        with pytest.raises(FunctionUnavailable, match='is a loopback address; to allow it, set function_addresses to "public priv'):
            await function.ready()
        with pytest.raises(FunctionUnavailable, match="loopback"):
            await function.call(Operation.TURN, "test", "Counter", [one()])
    assert not heads


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1"])
async def test_the_same_is_reached_when_it_is_allowed(host: str) -> None:
    """So that the test above is not one that cannot fail."""
    server, port, heads = await listening()
    async with server, UrlRuntime(SystemClock(), guard=Guard(EVERY_WORD)).serve(spec(url=f"http://{host}:{port}")) as function:
        with pytest.raises(InvalidFunctionResult, match="answered 302"):
            await function.call(Operation.TURN, "test", "Counter", [one()])
    assert heads == [b"called"]


async def test_a_name_that_is_rebound_after_the_look_changes_nothing() -> None:
    """The resolver is asked once per connection, and the connection goes to what it said then."""
    server, port, heads = await listening()
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked: list[str] = []

    async def rebinding(host: str, at: int) -> Sequence[tuple[Any, ...]]:
        asked.append(host)
        found: Sequence[tuple[Any, ...]] = await resolving(*answers[min(len(asked), 2) - 1])(host, at)
        return found

    async with server:
        address = Address(host="rebinding.invalid", port=port, guard=Guard(EVERY_WORD, rebinding))
        connection = await connect(address)
        await connection.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100)
        connection.close()
        assert (asked, heads) == (["rebinding.invalid"], [b"called"])
        with pytest.raises(FunctionUnavailable, match=r"169.254.169.254 is a metadata address"):
            await connect(address)
    assert heads == [b"called"]


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    server, port, heads = await listening()
    async with server:
        address = Address(host="two.invalid", port=port, guard=Guard(EVERY_WORD, resolving("127.9.9.9", "127.0.0.1")))
        (await connect(address)).close()
        with pytest.raises(FunctionUnavailable, match=r"no connection to two.invalid"):
            refusing = Guard(EVERY_WORD, resolving("127.9.9.9", "127.9.9.8"))
            await connect(Address(host="two.invalid", port=port, guard=refusing))
    assert not heads


async def test_a_redirect_is_not_followed_and_a_proxy_of_the_environment_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    server, port, heads = await listening()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    runtime = UrlRuntime(SystemClock(), guard=Guard(EVERY_WORD))
    async with server, runtime.serve(spec(url=f"http://127.0.0.1:{port}")) as function:
        with pytest.raises(FunctionUnavailable, match="answered 302"):
            await function.ready()
    assert heads == [b"called"]


async def test_a_name_that_does_not_resolve_is_not_ready_and_no_mistake() -> None:
    address = Address(host="does-not-exist.invalid", port=80, guard=Guard())
    with pytest.raises(FunctionUnavailable, match=r"no connection to does-not-exist.invalid:80") as caught:
        await connect(address)
    assert "final" not in caught.value.details


async def test_with_tls_the_certificate_must_be_for_the_name_not_for_the_address(tmp_path: Any) -> None:
    from certificates import authority, certificate

    ca, ca_file = authority(tmp_path)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate(tmp_path, ca, "fn.example"))
    heads: list[str] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        heads.append("called")
        writer.write(answer(b"", "503 X"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(behave, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    guard = Guard(EVERY_WORD, resolving("127.0.0.1"))
    async with server:
        for host, ca_of, message in (
            ("fn.example", ca_file, "it answered 503"),
            ("other.example", ca_file, "no connection to other.example"),
            ("fn.example", None, "no connection to fn.example"),
        ):
            runtime = UrlRuntime(SystemClock(), guard=guard, ca=ca_of)
            async with runtime.serve(spec(url=f"https://{host}:{port}")) as function:
                with pytest.raises(FunctionUnavailable, match=message):
                    await function.call(Operation.TURN, "test", "Counter", [one()])
    assert heads == ["called"]


def test_a_file_of_authorities_that_is_none_is_told(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    for name, rule in (("ca.pem", "not a file of certificates"), ("none.pem", "No such file")):
        with pytest.raises(SettingsError, match=rule):
            UrlRuntime(SystemClock(), ca=tmp_path / name)


def test_the_default_of_the_setting_is_the_guards() -> None:
    from evento.settings import Settings

    assert Settings().function_addresses == ALLOWED_DEFAULT
