"""The kit with a key: it passes a function that lets in only what is signed, and catches each that lets in something else."""

from types import SimpleNamespace

import pytest

from evento.protocol.envelope import HEALTH_PATH
from evento.sdk.server import FunctionApp
from evento.sdk.signed import Gate, NotSigned
from evento.testing.function_kit import check_function
from tests.protocol.counter import demo
from tests.protocol.make_vectors import KEY
from tests.protocol.serving import served


class Loose(Gate):
    """A gate that forgets one thing."""

    def __init__(self, forgets):
        super().__init__([KEY.public])
        self.forgets = forgets

    def admit(self, scope):
        try:
            return super().admit(scope)
        except NotSigned as error:
            if self.forgets in str(error):
                return None
            raise


class AfterRead(FunctionApp):
    """A function that verifies the head and forgets the body."""

    def __init__(self, namespace, gate):
        super().__init__(namespace, SimpleNamespace(admit=lambda scope: gate.admit(scope) and None))


class ClosedHealth(FunctionApp):
    """A function whose probes need a key."""

    async def __call__(self, scope, receive, send):
        await super().__call__({**scope, "path": "/evento"} if scope["path"] == HEALTH_PATH else scope, receive, send)


def gate():
    return Gate([KEY.public])


SIGNED_FAULTS = {
    "everybody is let in": (40, lambda: FunctionApp(demo)),
    "no headers are let in": (40, lambda: FunctionApp(demo, Loose("each once"))),
    "an old signature is let in": (40, lambda: FunctionApp(demo, Loose(" s ago"))),
    "one of the future is let in": (40, lambda: FunctionApp(demo, Loose("in the future"))),
    "a forged signature is let in": (40, lambda: FunctionApp(demo, Loose("is not that of"))),
    "an unknown key is let in": (40, lambda: FunctionApp(demo, Loose("is not known here"))),
    "the body is not looked at": (40, lambda: AfterRead(demo, gate())),
    "health needs a signature": (42, lambda: ClosedHealth(demo, gate())),
}


async def failed(app, folder, key=KEY):
    with served(app, folder) as target:
        results = await check_function(target, key)
    assert {40, 42} <= {result.rule for result in results} or key is None
    return {result.rule: result.detail for result in results if not result.ok}


async def test_a_function_that_keeps_the_rules_passes_with_its_key(tmp_path):
    assert await failed(FunctionApp(demo, gate()), tmp_path) == {}


async def test_without_the_key_nothing_but_health_passes(tmp_path):
    (told,) = (await failed(FunctionApp(demo, gate()), tmp_path, None)).items()
    assert told[0] == 3 and "answers 401" in told[1] and told[1].endswith("(is it the right --key?)")


@pytest.mark.parametrize("fault", SIGNED_FAULTS)
async def test_each_way_in_is_caught(fault, tmp_path):
    rule, app = SIGNED_FAULTS[fault]
    assert rule in await failed(app(), tmp_path)


async def test_another_key_than_the_functions_is_told(tmp_path):
    clock_of_1970 = Gate([KEY.public], now_s=lambda: 0.0)
    assert "a signed call is answered with 401" in (await failed(FunctionApp(demo, clock_of_1970), tmp_path))[40]
