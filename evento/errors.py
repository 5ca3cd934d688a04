"""Every error that Evento tells somebody about: one module, five families, one level deep.

Each class carries a stable `code` (kebab-case, on the wire), an HTTP `status` and a `remedy`: what whoever meets it does.
The first docstring line is the default message; details are keyword fields and travel as RFC 9457 members.
"""

from enum import StrEnum
from typing import Any, ClassVar


class Remedy(StrEnum):
    """What to do about an error. Unclassified means STOP."""

    NEVER = "never"  # tell the caller; the same input fails again
    LATER = "later"  # retry with delay
    REWIND = "rewind"  # give up this commit and read again
    STOP = "stop"  # this process must not go on


class EventoError(Exception):
    """Something went wrong inside Evento."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    remedy: ClassVar[Remedy] = Remedy.STOP

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)


# ------------------------------------------------------------------ schema
class SchemaError(EventoError):
    """The schema or the payload is not acceptable."""

    code = "schema"
    status = 400
    remedy = Remedy.NEVER


class SchemaRefused(SchemaError):
    """The schema does not parse or breaks a limit. `path` says where."""

    code = "schema-refused"


class PayloadRefused(SchemaError):
    """The payload does not fit its schema. `path` says where."""

    code = "payload-refused"


class Unreadable(SchemaError):
    """The stored payload cannot be read with this schema."""

    code = "unreadable"


class RegistryRefused(SchemaError):
    """The schema registry that somebody else runs does not take Evento's schemas, or does not answer."""

    code = "registry-refused"
    status = 502
    remedy = Remedy.LATER


# ------------------------------------------------------------------ command
class CommandError(EventoError):
    """The Command or request is refused; nothing was stored."""

    code = "command-refused"
    status = 400
    remedy = Remedy.NEVER


class InvalidName(CommandError):
    """The name breaks the rules for names."""

    code = "invalid-name"


class InvalidRequest(CommandError):
    """The request is malformed."""

    code = "invalid-request"


class NotFound(CommandError):
    """There is no such thing."""

    code = "not-found"
    status = 404


class MethodNotAllowed(CommandError):
    """This path does not know this method."""

    code = "method-not-allowed"
    status = 405


class NotAcceptable(CommandError):
    """The answer is not available in any encoding that the request accepts."""

    code = "not-acceptable"
    status = 406


class UnsupportedEncoding(CommandError):
    """The request body is in an encoding that Evento does not take here."""

    code = "unsupported-encoding"
    status = 415


class IdReused(CommandError):
    """This command id was used before for a Command with other content."""

    code = "id-reused"
    status = 409


class VersionConflict(CommandError):
    """The instance is not at the expected version."""

    code = "version-conflict"
    status = 412


class TooLarge(CommandError):
    """The payload is larger than the limit."""

    code = "too-large"
    status = 413


class BuildRefused(CommandError):
    """The image of a function cannot be built."""

    code = "build-refused"
    status = 422


class Overloaded(CommandError):
    """Evento has as much work as it can hold; nothing was stored. Send the Command again, with the same id."""

    code = "overloaded"
    status = 503
    remedy = Remedy.LATER


class NotReady(CommandError):
    """Evento is not ready yet. Send the Command again, with the same id."""

    code = "not-ready"
    status = 503
    remedy = Remedy.LATER


class Unreachable(CommandError):
    """Evento cannot be reached, or the connection broke; what became of the request is unknown. Send it again, with the same id."""

    code = "unreachable"
    status = 503
    remedy = Remedy.LATER


class PredecessorRefused(CommandError):
    """A Command before it in this stream, of the same instance, was refused for now. Send both again, in order."""

    code = "predecessor-refused"
    status = 503
    remedy = Remedy.LATER


class DeploymentRefused(CommandError):
    """The deployment has errors; nothing was changed. `problems` lists them all."""

    code = "deployment-refused"
    status = 422


class TransferRefused(CommandError):
    """The export or import is refused; nothing was written unless the message says so."""

    code = "transfer-refused"
    status = 422


# ------------------------------------------------------------------ function
class FunctionError(EventoError):
    """The function call failed; the turns in it are retried."""

    code = "function-failed"
    status = 503
    remedy = Remedy.LATER


class FunctionUnavailable(FunctionError):
    """The function cannot be reached or is not ready; no attempt is counted."""

    code = "function-unavailable"


class FunctionTimeout(FunctionError):
    """The function did not answer in time."""

    code = "function-timeout"


class FunctionCrashed(FunctionError):
    """The function ended, or its connection broke, in the middle of a call."""

    code = "function-crashed"


class FunctionOutOfMemory(FunctionError):
    """The function was ended in the middle of a call because it used more memory than it may."""

    code = "function-out-of-memory"


class InvalidFunctionResult(FunctionError):
    """The function answered something that its protocol or its schemas forbid."""

    code = "invalid-function-result"


# ------------------------------------------------------------------ journal
class JournalError(EventoError):
    """The journal failed; this process must not go on."""

    code = "journal-failed"
    status = 503


class JournalBusy(JournalError):
    """Another process has this journal open."""

    code = "journal-busy"


class JournalCorrupt(JournalError):
    """The journal's content contradicts its checksums or its own rules."""

    code = "journal-corrupt"


class JournalLost(JournalError):
    """What the journal's store held is gone, and Evento does not go on without it by itself."""

    code = "journal-lost"


class JournalIncomplete(JournalError):
    """The journal holds a part of an import that did not finish."""

    code = "journal-incomplete"


class JournalRewind(JournalError):
    """The commit failed, or nobody knows whether it happened; read again what is there, and go on from it."""

    code = "journal-rewind"
    remedy = Remedy.REWIND


class JournalUnfit(JournalError):
    """The journal cannot keep what is deployed in the way that it says. `problems` lists everything that does not fit."""

    code = "journal-unfit"
    status = 422
    remedy = Remedy.NEVER


class JournalFenced(JournalError):
    """Another process owns this partition now. What was not told before is known only to those who read it again."""

    code = "journal-fenced"


class JournalUnreachable(JournalError):
    """The cluster that holds the journal does not answer; what became of it is unknown. Send it again, with the same id."""

    code = "journal-unreachable"
    remedy = Remedy.LATER


class JournalRefused(JournalError):
    """The cluster that holds the journal refuses what this process needs: a right or a setting is missing there."""

    code = "journal-refused"


# ------------------------------------------------------------------ settings
class SettingsError(EventoError):
    """A setting is wrong."""

    code = "settings"
    status = 400
