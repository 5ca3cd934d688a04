"""The command line: one file per noun. Speaks to a running platform through `evento.client` only; `dev` and `serve` start one."""
