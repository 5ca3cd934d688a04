"""`python -m evento.sdk module:name` serves the Namespace called `name` in `module`."""

import sys

from evento.sdk.errors import DeclarationError
from evento.sdk.load import load
from evento.sdk.server import serve


def main() -> None:
    """Serve what the command line names; say in one line what is wrong with it."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m evento.sdk module[:name]")
    try:
        namespace = load(sys.argv[1])
        namespace.check()
    except DeclarationError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    serve(namespace)


main()
