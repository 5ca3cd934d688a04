"""How the platform is doing, over HTTP: for an orchestrator, for Prometheus, for a person, and the full audit."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evento.api.answers import json_response
from evento.api.platform import Platform
from evento.api.problems import RETRY_AFTER_S
from evento.telemetry import METRICS_TYPE


class Health:
    """Serves the platform's own condition."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[Route]:
        """Return the routes of this noun."""
        return [
            Route("/livez", self.live),
            Route("/readyz", self.ready),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/verify", self.verify, methods=["POST"]),
        ]

    async def live(self, request: Request) -> Response:
        """Answer that the process runs and its event loop turns."""
        return Response("ok\n", media_type="text/plain")

    async def ready(self, request: Request) -> Response:
        """Answer 200 if Commands are taken, else 503 and why not."""
        status = self._platform.operations.status()
        if status.ready:
            return Response("ready\n", media_type="text/plain")
        return Response(f"{status.reason}\n", 503, {"retry-after": str(RETRY_AFTER_S)}, "text/plain")

    async def health(self, request: Request) -> Response:
        """Answer everything that is known of the platform's condition; always 200."""
        return json_response(self._platform.operations.status())

    async def metrics(self, request: Request) -> Response:
        """Answer the metrics in Prometheus' text format."""
        return Response(self._platform.metrics.exposition(), headers={"content-type": METRICS_TYPE})

    async def verify(self, request: Request) -> Response:
        """Fold everything again and answer every difference. Takes as long as it takes."""
        verdict = await self._platform.operations.verify()
        return json_response({"ok": not verdict.differences, "differences": list(verdict.differences), "stale": verdict.stale})
