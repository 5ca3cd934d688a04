"""`python -m evento.sdk module[:name]` serves the Namespace `name` of `module`; with `--describe` it prints its manifests."""

import json
import sys
from contextlib import redirect_stdout

from evento.sdk.errors import DeclarationError
from evento.sdk.load import load
from evento.sdk.manifests import manifests
from evento.sdk.server import serve

_DESCRIBE = "--describe"


def main(arguments: list[str]) -> None:
    """Do what the command line says, or say in one line what is wrong with it."""
    describing = arguments[:1] == [_DESCRIBE]
    targets = arguments[1:] if describing else arguments
    if len(targets) != 1:
        raise SystemExit(f"usage: python -m evento.sdk [{_DESCRIBE}] module[:name]")
    try:
        with redirect_stdout(sys.stderr):  # what the module prints is no part of the description
            namespace = load(targets[0])
            namespace.check()
    except DeclarationError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    if describing:
        sys.stdout.write(json.dumps(manifests(namespace, target=targets[0])))
    else:
        serve(namespace)


if __name__ == "__main__":
    main(sys.argv[1:])
