"""What a cluster does not allow, in words that a person can act on: a right that is missing, a time that is too long."""

from msgspec import Struct

from evento.errors import JournalError, JournalRefused
from evento.journal.kafka.failures import Failure, error_of
from evento.journal.kafka.security import Properties

TIME_REFUSED = "INVALID_TRANSACTION_TIMEOUT"
_ID_REFUSED = "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
_FAMILY = "evento."  # so begin, behind the prefix, all transactional ids of a deployment


class MissingRight(Struct, frozen=True):
    """A right that a user lacks. `resource` is `topic`, `group` or `transactional id`."""

    right: str
    resource: str
    name: str
    user: str
    bootstrap: str

    def __str__(self) -> str:
        command = f"kafka-acls.sh --bootstrap-server {self.bootstrap} --add --allow-principal User:{self.user}"
        option = f"--operation {self.right.title().replace('_', '')} {self._option}"
        return f"{self.right} on {self.resource} {self.name} is missing: {command} {option}"

    @property
    def _option(self) -> str:
        if self.resource != "transactional id":
            return f"--{self.resource} {self.name}"
        family = self.name[: self.name.rindex(_FAMILY) + len(_FAMILY)]  # the others would be missed next
        return f"--resource-pattern-type prefixed --transactional-id {family}"


def missing_right(told: Properties, right: str, resource: str, name: str) -> MissingRight:
    """Return that a right is missing; `told` are the properties of who lacks it."""
    return MissingRight(right, resource, name, str(told.get("sasl.username", "…")), str(told["bootstrap.servers"]))


def refusal_of(failure: Failure, told: Properties) -> JournalError:
    """Return a failure of a transactional producer as an error; of what the cluster does not allow it: what is to be changed."""
    message = failure.message
    if failure.code == _ID_REFUSED:
        message = str(missing_right(told, "WRITE", "transactional id", told["transactional.id"]))
    elif failure.code == TIME_REFUSED:
        message = f"{message}: {told['transaction.timeout.ms']} ms are asked for"
    else:
        return error_of(failure)
    return JournalRefused(message, kafka=failure.code)
