"""What is answered when a request is refused or fails; counted, and logged if it is not the client's doing."""

import logging

from evento.api.body import Answered
from evento.api.problems import problem_response
from evento.errors import EventoError
from evento.telemetry import Counter

_log = logging.getLogger(__name__)
_LOGGED_PATH_CHARACTERS = 200


class Refusals:
    """Makes problems of errors. Of a bug nothing is told but that there was one."""

    def __init__(self, requests: Counter) -> None:
        self._requests = requests

    def __call__(self, error: Exception, path: str) -> Answered:
        """Return the answer to a request at `path`."""
        path = path[:_LOGGED_PATH_CHARACTERS]
        if not isinstance(error, EventoError):
            _log.error("request failed", extra={"path": path}, exc_info=error)
            error = EventoError()
        elif error.status >= 500:
            _log.warning("request failed", extra={"path": path, "code": error.code, "detail": error.message})
        status, headers, body = problem_response(error)
        self._requests.bind("refused", str(status)).add()
        return status, list(headers.items()), body
