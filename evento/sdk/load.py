"""Finds the Namespace that a target `module:name` means."""

import importlib
import os
import sys

from evento.sdk.errors import DeclarationError
from evento.sdk.namespace import Namespace

ANY = "app"


def load(target: str, directory: str | None = None) -> Namespace:
    """Import the module (from `directory`, by default the current one) and return its Namespace.

    Without `:name`, and with `:app` unless something is called so, the module must have exactly one. Raises DeclarationError; what
    the module itself raises comes through.
    """
    module_name, _, name = target.partition(":")
    sys.path.insert(0, os.path.abspath(directory or os.curdir))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise
        raise DeclarationError(f"{target}: there is no module {module_name!r} here") from error
    found = {key: value for key, value in vars(module).items() if isinstance(value, Namespace)}
    if name in found:
        return found[name]
    if name not in ("", ANY):
        raise DeclarationError(f"{target}: module {module_name!r} has no Namespace called {name!r}")
    if len({id(value) for value in found.values()}) != 1:
        raise DeclarationError(
            f"{target}: module {module_name!r} has {len(found)} namespaces, not one; say which: {module_name}:name"
        )
    return next(iter(found.values()))
