"""Which image a Function runs in, where its manifest does not say: a module written with the SDK describes a local process."""

from collections.abc import Mapping

from msgspec.structs import replace

from evento.errors import DeploymentRefused
from evento.registry.documents import Document, Documents, function_name

_OF_A_PROCESS = ("command", "directory", "files", "url")


def with_images(documents: Documents, images: Mapping[str, str]) -> Documents:
    """Return the documents with these images, by `namespace/function`. Raises DeploymentRefused for one that is not there."""
    missing = set(images)
    changed = []
    for document in documents.documents:
        name = function_name(document)
        image = images.get(name)
        missing.discard(name)
        changed.append(document if image is None else _running(document, image))
    if missing:
        names = ", ".join(sorted(missing))
        raise DeploymentRefused(f"there is no Function {names} here; an image is given as NAMESPACE/FUNCTION=IMAGE")
    return replace(documents, documents=tuple(changed))


def _running(document: Document, image: str) -> Document:
    spec = document.content.get("spec")
    kept = {name: value for name, value in spec.items() if name not in _OF_A_PROCESS} if isinstance(spec, dict) else {}
    return replace(document, content={**document.content, "spec": {**kept, "image": image}})
