"""A function for an image: what a Command orders, it does, however bad. It needs fastavro and `evento.protocol`, no server library.

`MODE` says how it behaves from the start; the payload of each Command, a string, what it does in that call.
"""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import fastavro

from evento.protocol.envelope import CALL, DISCOVERY, HEALTH_PATH, PROTOCOL_VERSION, REPLY, decode, encode

SOCKET = os.environ["EVENTO_SOCKET"]
MODE = os.environ.get("MODE", "")
FOREVER_S = 3600
EVENT = fastavro.parse_schema({"type": "record", "name": "Done", "fields": [{"name": "said", "type": "string"}]})
COMMAND = fastavro.parse_schema({"type": "record", "name": "Do", "fields": [{"name": "order", "type": "string"}]})
STATE = fastavro.parse_schema({"type": "record", "name": "Counter", "fields": [{"name": "count", "type": "int"}]})
server = None


def written(schema, value):
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def discovery():
    entity = {
        "namespace": os.environ.get("NAMESPACE", "test"),
        "name": "Counter",
        "schema": "",
        "applies": MODE != "no-apply",
        "commands": [{"name": "Do", "schema": "", "events": ["Done"], "rejections": []}],
        "events": [{"name": "Done", "schema": ""}],
    }
    revision = os.environ.get("EVENTO_REVISION", "")
    return encode(DISCOVERY, {"protocol": PROTOCOL_VERSION, "sdk": "", "revision": revision, "entities": [entity], "single": False})


def whoami():
    """Tell what this container may do."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "networks": os.listdir("/sys/class/net"),
        "writable": [place for place in ("/", "/etc", "/usr", "/var", "/app", "/tmp", "/run/evento") if can_write(place)],
        "tmp": next(mount[3] for mount in mounts if mount[1] == "/tmp"),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "revision": os.environ["EVENTO_REVISION"],
        "environment": {name: value for name, value in os.environ.items() if "SECRET" in name},
    }


def can_write(place):
    try:
        with open(f"{place}/probe", "w"):
            pass
        os.unlink(f"{place}/probe")
    except OSError:
        return False
    return True


def processes():
    """Start processes until that is refused, and tell how many there were."""
    started = []
    try:
        while len(started) < 500:
            started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
    except OSError:
        pass
    for each in started:
        each.kill()
        each.wait()
    return len(started)


async def act(order):
    """Do what is ordered, and return what the event is to say."""
    verb, _, argument = order.partition(" ")
    if verb == "sleep":
        await asyncio.sleep(float(argument.split()[0]))
    if verb == "work":
        time.sleep(float(argument.split()[0]))  # noqa: ASYNC251 - as code does that computes
    if verb == "block":
        time.sleep(FOREVER_S)  # noqa: ASYNC251 - that is the point
    if verb == "crash":
        print("about to crash", flush=True)
        os._exit(3)
    if verb == "oom":
        hoard = []
        while True:
            hoard.append(b"x" * 50_000_000)
    if verb == "print":
        print(argument, flush=True)
    if verb == "flood":
        sys.stdout.write("x" * 10_000_000 + "\n" + "y\n" * 200_000)
        sys.stdout.flush()
    if verb == "refuse":
        server.close()
        os.unlink(SOCKET)
    if verb == "who":
        return json.dumps(whoami())
    if verb == "where":
        return f"{socket.gethostname()} {os.environ.get('VERSION', '')}"
    if verb == "processes":
        return str(processes())
    return order


async def work(call):
    reply = {"revision": os.environ.get("EVENTO_REVISION", ""), "types": ["Done"], "failures": []}
    done, states, counts, payloads = [], [], [], []
    items = iter(call["payloads"])
    for count, version, state in zip(call["counts"], call["versions"], call["states"], strict=True):
        total = fastavro.schemaless_reader(BytesIO(state), STATE)["count"] if version else 0
        for payload in [next(items) for _ in range(count)]:
            if call["operation"] != "apply":
                said = await act(fastavro.schemaless_reader(BytesIO(payload), COMMAND)["order"])
                payloads.append(written(EVENT, {"said": said}))
                counts.append(1)
            total += 1
        done.append(count)
        states.append(written(STATE, {"count": total}))
    reply |= {"done": done, "states": [] if call["operation"] == "handle" else states}
    return reply | {"counts": counts, "payloads": payloads, "event_types": [0] * len(payloads)}


def head(length, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Type: application/avro\r\nContent-Length: {length}\r\n\r\n".encode()


async def misbehave(order, reply, writer):
    """Answer as ordered, and return whether that was an answer of the bad kind."""
    body = encode(REPLY, reply)
    twice = {name: 2 * reply[name] for name in ("done", "states", "counts", "event_types", "payloads")}
    answers = {
        "garbage": head(9) + b"\xff\xfe\xfdnot it",
        "no-http": b"220 mail ready\r\n",
        "empty": head(0),
        "truncated": head(len(body) // 2) + body[: len(body) // 2],
        "trailing": head(len(body) + 1) + body + b"x",
        "status": head(4, "500 Internal Server Error") + b"oops",
        "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        "huge": head(2**30) + bytes(1024),
        "wrong-instance": (lambda out: head(len(out)) + out)(encode(REPLY, reply | twice)),
        "wrong-event": (lambda out: head(len(out)) + out)(encode(REPLY, reply | {"types": ["Stolen"]})),
    }
    if order in answers:
        writer.write(answers[order])
        await writer.drain()
        return True
    if order == "hang":
        await asyncio.sleep(FOREVER_S)
    if order == "hang-in-body":
        writer.write(head(len(body)) + body[:4])
        await asyncio.sleep(FOREVER_S)
    if order == "drip":
        for byte in head(len(body)) + body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
        return True
    if order == "endless":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/avro\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
    if order == "reset":
        writer.write(head(len(body)) + body[:4])
        await writer.drain()
        writer.transport.abort()
        return True
    return False


async def connected(reader, writer):
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            lines = request.lower().split(b"\r\n")
            length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            method, path, _ = lines[0].decode().split()
            if path == HEALTH_PATH:
                writer.write(head(0))
            elif method == "get":
                writer.write(head(len(discovery())) + discovery())
            else:
                call = decode(CALL, body)
                orders = [fastavro.schemaless_reader(BytesIO(payload), COMMAND)["order"] for payload in call["payloads"]]
                reply, bad = await work(call), False
                for order in orders if call["operation"] != "apply" else ():
                    bad = bad or await misbehave(order, reply, writer)
                if not bad:
                    answer = encode(REPLY, reply)
                    writer.write(head(len(answer)) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    global server
    if MODE == "exit":
        print("this will not do", flush=True)
        sys.exit(7)
    if MODE == "mute":
        await asyncio.sleep(FOREVER_S)
    if MODE.startswith("slow-start"):
        await asyncio.sleep(float(MODE.split()[1]))
    if MODE == "refuse":  # a socket that nobody listens to
        socket.socket(socket.AF_UNIX).bind(SOCKET)
        await asyncio.sleep(FOREVER_S)
    server = await asyncio.start_unix_server(connected, SOCKET)
    os.chmod(SOCKET, 0o666)  # noqa: S103 - the folder keeps others away
    stopping = asyncio.Event()
    if MODE != "stubborn":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print("serving", flush=True)
    await stopping.wait()
    print("stopping", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
