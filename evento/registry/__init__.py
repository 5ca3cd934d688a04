"""The catalog: what exists, in which version; deployment as read, check, plan, commit (design §4).

Knows files, manifests and schemas; does not know how functions are run, nor what is stored about any instance.
"""
