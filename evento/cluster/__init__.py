"""Several nodes as one: a Command, a read or an operator's wish goes to the node that owns the instance (decision 009).

Knows engine and reads as ports on both sides, and the other nodes by their addresses; it never learns which journal they share.
"""
