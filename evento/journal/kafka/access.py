"""Which rights (ACLs) each role needs on a cluster, and which of them this user lacks.

Of rights on transactional ids a cluster tells nothing beforehand: that one is missing is told when a partition is taken over.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from evento.clock import Clock
from evento.journal.kafka.admin import Admin, asked
from evento.journal.kafka.clients import Cluster
from evento.journal.kafka.rights import MissingRight
from evento.journal.kafka.topics import DeploymentTopics, EntityTopics

GROUP_RIGHTS = ("DESCRIBE", "READ")


class Role(StrEnum):
    """Who asks something of the cluster."""

    NODE = "node"
    CONSUMER = "external consumer"
    PRODUCER = "external producer"
    CATALOG_READER = "catalog reader"


_FULL = ("DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE")
_READ = ("DESCRIBE", "READ")
_WRITE = ("DESCRIBE", "WRITE")
# By role and kind of topic. `docs/how-to/run-on-an-existing-kafka-cluster.md` has the same as a table.
TOPIC_RIGHTS: Mapping[Role, Mapping[str, Sequence[str]]] = {
    Role.NODE: dict.fromkeys((*EntityTopics.__struct_fields__, *DeploymentTopics.__struct_fields__), _FULL),
    Role.CONSUMER: {"events": _READ},
    Role.PRODUCER: {"commands": _WRITE, "outcomes": _READ},
    Role.CATALOG_READER: {"catalog": _READ},
}


async def check_access(
    cluster: Cluster, role: Role, topics: Sequence[EntityTopics | DeploymentTopics], clock: Clock, *, group: str
) -> Sequence[MissingRight]:
    """Return every right on those of these topics that exist, and on the group, that the role needs and this user lacks.

    Raises JournalError if the cluster cannot be asked, SettingsError.
    """
    needed = {
        getattr(each, kind): rights
        for each in topics
        for kind, rights in TOPIC_RIGHTS[role].items()
        if kind in each.__struct_fields__
    }
    return await asked(lambda admin: list(_missing(admin, needed, group)), cluster, clock)


def _missing(admin: Admin, needed: Mapping[str, Sequence[str]], group: str) -> Iterator[MissingRight]:
    for name, state in admin.describe_topics(sorted(needed)).items():  # of one that may not be seen, nobody knows whether it exists
        yield from (admin.missing(right, "topic", name) for right in sorted(set(needed[name]) - state.rights))
    yield from (admin.missing(right, "group", group) for right in sorted(set(GROUP_RIGHTS) - admin.rights_on_group(group)))
