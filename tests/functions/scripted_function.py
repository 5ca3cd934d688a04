"""A function for tests: each Command's payload says what the function does. It serves `EVENTO_SOCKET`, without an SDK."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import uvicorn

from evento.protocol.envelope import CALL, DISCOVERY, HEALTH_PATH, MEDIA_TYPE, PROTOCOL_VERSION, REPLY, decode, encode

REVISION = os.environ.get("EVENTO_REVISION", "")
SINGLE = "SINGLE" in os.environ
_under_way = _most = 0


def discovery():
    entity = {
        "namespace": "test",
        "name": "Counter",
        "schema": '{"type": "bytes"}',
        "applies": "NO_APPLY" not in os.environ,
        "commands": [{"name": "Do", "schema": "", "events": ["Done"], "rejections": []}],
        "events": [{"name": "Done", "schema": ""}],
    }
    served = {"protocol": PROTOCOL_VERSION, "sdk": "", "revision": REVISION, "entities": [entity], "single": SINGLE}
    return encode(DISCOVERY, served)


class Status(Exception):
    """The call is answered with this status."""


async def act(order: bytes) -> bytes | None:
    """Do what a payload says; return the payload of the event, or None to fail."""
    verb, _, argument = order.decode().partition(" ")
    if verb == "fail":
        return None
    if verb == "crash":
        os._exit(3)
    if verb == "signal":
        os.kill(os.getpid(), int(argument))
    if verb == "hang":
        await asyncio.sleep(1000)
    if verb == "block":
        time.sleep(1000)  # noqa: ASYNC251 - that is the point
    if verb == "sleep":
        await asyncio.sleep(float(argument))
    if verb == "meet":
        while _most < int(argument):  # noqa: ASYNC110 - each call that comes raises it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for one too many to come
    if verb == "env":
        return json.dumps(dict(os.environ)).encode()
    if verb == "where":
        return json.dumps([os.getcwd(), sys.executable, os.getpgid(0)]).encode()
    if verb == "print":
        print(argument, flush=True)
    if verb == "flood":
        sys.stdout.write("x" * 10_000_000 + "\n" + "y\n" * 200_000)
        sys.stdout.flush()
    if verb == "spawn":
        return str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid).encode()  # noqa: ASYNC220
    if verb == "status":
        raise Status(int(argument))
    if verb == "most":
        return str(_most).encode()
    if verb == "pid":
        return str(os.getpid()).encode()
    return order


async def work(call):
    global _under_way, _most
    if SINGLE and call["counts"] != [1]:
        raise Status(400)
    _under_way += 1
    _most = max(_most, _under_way)
    try:
        return await folded(call)
    finally:
        _under_way -= 1


async def folded(call):
    renamed = [payload for payload in call["payloads"] if payload.startswith(b"revision ")]
    reply = {
        "revision": renamed[0].decode().split()[1] if renamed else REVISION,
        "types": ["Done"],
        "done": [],
        "states": [],
        "counts": [],
        "event_types": [],
        "payloads": [],
        "failures": [],
    }
    items = iter(call["payloads"])
    for instance, (count, state) in enumerate(zip(call["counts"], call["states"], strict=True)):
        done = 0
        for order in [next(items) for _ in range(count)]:
            if order == b"garbage":
                return b"garbage"
            payload = await act(order)
            if payload is None:
                reply["failures"].append({"instance": instance, "code": "handler-failed", "message": "told to"})
                break
            done += 1
            state = b"%d" % (int(state or b"0") + 1)
            if call["operation"] != "apply":
                reply["counts"].append(1)
                reply["event_types"].append(0)
                reply["payloads"].append(payload)
        reply["done"].append(done)
        reply["states"].append(state if done else b"")
    if call["operation"] == "handle":
        reply["states"] = []
    return encode(REPLY, reply)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status = 200
    if scope["path"] == HEALTH_PATH:
        answer = b""
    elif scope["method"] == "GET":
        answer = discovery()
    else:
        try:
            answer = await work(decode(CALL, body))
        except Status as other:
            status, answer = other.args[0], b"told to\n"
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def main():
    mode = os.environ.get("MODE", "")
    if mode == "exit":
        print("this will not do", file=sys.stderr)
        sys.exit(7)
    if mode == "mute":
        time.sleep(1000)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = uvicorn.Server(
        uvicorn.Config(app, uds=os.environ["EVENTO_SOCKET"], log_level="warning", lifespan="off", access_log=False)
    )
    if mode == "stubborn":
        server.install_signal_handlers = lambda: None
        server.capture_signals = __import__("contextlib").nullcontext
    server.run()


if __name__ == "__main__":
    main()
