"""One way in for whatever a person names as a deployment: manifest files, folders of them, Python modules."""

from collections.abc import Sequence

from evento.registry.documents import Documents
from evento.registry.manifests import read_manifests
from evento.registry.module import is_module, read_module


def read_deployment(targets: Sequence[str]) -> Documents:
    """Return the documents of all targets together.

    Reads files and starts processes: not for the event loop. What cannot be read is among the problems; nothing is raised.
    """
    modules = [target for target in targets if is_module(target)]
    parts = [read_manifests([target for target in targets if target not in modules]), *map(read_module, modules)]
    return Documents(
        tuple(document for part in parts for document in part.documents),
        tuple(problem for part in parts for problem in part.problems),
    )
