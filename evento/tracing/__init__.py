"""Traces of Commands from intake to outcome, as layers around the ports: without tracing none of them is there.

A Command's context carries the W3C trace context, in the journal too; so a trace goes on after a retry, a restart, at another node.
"""

from evento.tracing.setup import Tracing, open_tracing

__all__ = ["Tracing", "open_tracing"]
