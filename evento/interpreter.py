"""What a platform asks of Python's interpreter: how often threads change hands, and when cycles of garbage are looked for."""

import gc
import sys

# A thread that waits for the interpreter's lock asks for it after this; the default of 5 ms would add as much to commits.
_SWITCH_S = 0.001
# Where the threads of many partitions work beside the event loop, each change of hands costs more than it gains: what one of them
# touches is in another core's cache afterwards. Where nobody else has work, nobody waits.
_SWITCH_MANY_S = 0.03
# Batches make and free some ten thousand objects without cycles: looking for these only when more have gathered saves a
# twentieth of the time, and what is forgotten in cycles meanwhile stays below some 20 MiB.
_GC_THRESHOLDS = (200_000, 10, 50)


def tune(*, many_threads: bool) -> None:
    """Set the interpreter up for a platform. `many_threads`: it is on a journal with threads of its own for each partition."""
    sys.setswitchinterval(_SWITCH_MANY_S if many_threads else _SWITCH_S)
    gc.set_threshold(*_GC_THRESHOLDS)
