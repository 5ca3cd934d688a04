"""A function that takes one item per call, written as simply as function.md lets it be: whatever goes wrong is a 500."""

from evento.protocol.envelope import CALL, DISCOVERY, HEALTH_PATH, MEDIA_TYPE, REPLY, decode, encode
from evento.sdk.calls import EntityCalls
from evento.sdk.manifests import discovery
from tests.protocol.counter import demo


class Failed(Exception):
    """The item of this call has failed."""


class SingleApp:
    """Serves the counter. What `spoil(call, reply)` makes of a reply is answered, and `status(call, status)` is the status."""

    def __init__(self, *, spoil=lambda call, reply: reply, status=lambda call, status: status, tidy=lambda body: body):
        self.spoil, self.status, self.tidy = spoil, status, tidy
        self.entity = EntityCalls(demo.entities["Counter"])

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body, call = (await receive())["body"], None
        status, media_type = 200, MEDIA_TYPE
        try:
            if scope["path"] == HEALTH_PATH:
                answer = b""
            elif scope["method"] == "GET":
                answer = encode(DISCOVERY, discovery(demo) | {"revision": "7", "single": True})
            else:
                call = decode(CALL, self.tidy(body))
                answer = self.spoil(call, encode(REPLY, await self.work(call)))
        except Exception as error:  # noqa: BLE001 - that is how simple it may be
            status, media_type, answer = 500, "text/plain", str(error).encode()
        headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": self.status(call, status), "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def work(self, call):
        if (call["namespace"], call["entity"]) != ("demo", "Counter"):
            raise Failed("not served here")
        if call["operation"] == "handle" or call["counts"] != [1]:
            raise Failed("nobody should ask for this")
        reply = {"revision": "7", **await self.entity.answer(call)}
        for failure in reply["failures"]:
            raise Failed(failure["message"])
        return reply
