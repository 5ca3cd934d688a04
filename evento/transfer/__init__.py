"""A journal as files, and files as a journal: what `evento export` writes and `evento import` reads, through the port alone.

Knows no backend, no engine and no function. The format is in docs/reference/export-format.md; it stays readable.
"""
