"""The limits of what comes in (reliability §6), in one place, each with its unit."""

COMMAND_BYTES_MAX = 256 * 1024
EVENT_BYTES_MAX = 512 * 1024
STATE_BYTES_MAX = 896 * 1024
EVENTS_PER_COMMAND_MAX = 100
HEADER_BYTES_MAX = 16 * 1024
HEADERS_MAX = 64
PARTITIONS_MAX = 256  # of a deployment, and so of an Entity
JSON_DEPTH_MAX = 64
