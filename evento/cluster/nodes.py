"""The other nodes as this one reaches them: a link and two lanes to each, made when first needed, ended when nobody needs them."""

import asyncio

from msgspec import Struct

from evento.cluster.lane import Lane, Learn
from evento.cluster.link import Link, MakeLink, is_address
from evento.cluster.wire import SINGLES_PATH, STREAMS_PATH

NODES_MAX = 256


class Node(Struct, frozen=True):
    """The ways to one node. Commands of streams have a lane of their own: they may wait there for room, and hold nobody else up."""

    link: Link
    singles: Lane
    streams: Lane


class Nodes:
    """The nodes by address. Used within a task group, in which the lanes run."""

    def __init__(self, make_link: MakeLink, learn: Learn, tasks: asyncio.TaskGroup, *, own: str) -> None:
        """`own` is the address of this node."""
        self._learn = learn
        self._make_link = make_link
        self._tasks = tasks
        self._own = own
        self._nodes: dict[str, Node] = {}
        self._running: set[asyncio.Task[None]] = set()

    def get(self, address: str | None) -> Node | None:
        """Return the ways to the node at an address that was read from somewhere; None if it cannot be one of another node."""
        if address is None:
            return None
        node = self._nodes.get(address)
        if node is None and address != self._own and is_address(address) and len(self._nodes) < NODES_MAX:
            node = self._nodes[address] = self._open(address)
        return node

    def forget_all_but(self, addresses: frozenset[str]) -> None:
        """Close the lanes to nodes that own nothing, once they are empty."""
        for address, node in list(self._nodes.items()):
            if address not in addresses and node.singles.is_idle and node.streams.is_idle:
                del self._nodes[address]
                node.singles.close()
                node.streams.close()

    def close(self) -> None:
        """End all lanes now."""
        for task in self._running:
            task.cancel()

    def _open(self, address: str) -> Node:
        link = self._make_link(address)
        node = Node(link, Lane(link, SINGLES_PATH, self._learn), Lane(link, STREAMS_PATH, self._learn))
        for lane in (node.singles, node.streams):
            task = self._tasks.create_task(lane.run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return node
