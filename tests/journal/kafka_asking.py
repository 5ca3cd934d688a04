"""A process that asks a cluster for a group's members, from several threads, whether the cluster is there or not.

`python -m tests.journal.kafka_asking ADDRESS`. It says when it was answered first, asks until it is told to end, and then says how
often it was answered, and how often not.
"""

import sys
from threading import Event, Thread

from evento.errors import JournalError
from evento.journal.kafka import survey
from evento.journal.kafka.names import Names
from evento.journal.kafka.survey import Survey
from tests.journal.kafka_child import cluster_at, say

THREADS = 4
ASK_S = 4.0
PAUSE_S = 0.01


def main(address: str) -> None:
    survey.ASK_S = ASK_S
    cluster, stopping = cluster_at(address), Event()
    names, asking = Names(cluster.address), Survey(cluster)
    counts = {True: 0, False: 0}

    def ask() -> None:
        while not stopping.wait(PAUSE_S):
            try:
                asking.members(names.group, names.pending)
            except JournalError:
                counts[False] += 1
            else:
                if not counts[True]:
                    say("ANSWER")
                counts[True] += 1

    threads = [Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    stopping.set()
    for thread in threads:
        thread.join()
    asking.close()
    say(f"ANSWERED {counts[True]} NOT {counts[False]}")


if __name__ == "__main__":
    main(sys.argv[1])
