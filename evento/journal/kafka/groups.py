"""Asking for a consumer group's description."""

from concurrent.futures import Future

from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

# Longer than any client is used. If a request ends by its time while the group's coordinator is not connected, and that comes back
# before the client has ended, the client asks on behalf of a request that is no more, and ends the process (librdkafka 2.16.1,
# `rd_kafka_admin_coord_request`; its issue 4605). Who waits gives up before, and ends the client.
_NEVER_S = 3600.0


def ask_group(admin: AdminClient, group: str, *, rights: bool = False) -> "Future[ConsumerGroupDescription]":
    """Ask for a group, with what this user may do with it if `rights` are wanted. Who waits for the answer says how long."""
    asked = admin.describe_consumer_groups([group], include_authorized_operations=rights, request_timeout=_NEVER_S)
    answer: Future[ConsumerGroupDescription] = asked[group]
    return answer
