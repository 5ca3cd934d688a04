"""One way in for whatever a person names as a deployment: manifest files, folders of them, Python modules."""

from collections.abc import Sequence

from evento.registry.documents import Documents, function_name
from evento.registry.manifests import read_manifests
from evento.registry.module import is_module, read_module


def read_deployment(targets: Sequence[str]) -> Documents:
    """Return the documents of all targets together.

    A Function that stands in a manifest takes the place of the local process that a module describes under that name.
    Reads files and starts processes: not for the event loop. What cannot be read is among the problems; nothing is raised.
    """
    modules = [target for target in targets if is_module(target)]
    manifests = read_manifests([target for target in targets if target not in modules])
    declared = {function_name(document) for document in manifests.documents} - {""}
    described = [read_module(module) for module in modules]
    kept = [document for part in described for document in part.documents if function_name(document) not in declared]
    return Documents(
        (*manifests.documents, *kept), (*manifests.problems, *(problem for part in described for problem in part.problems))
    )
