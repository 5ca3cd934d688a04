"""What is not in the resources and must be known to render them, and the type of what is rendered."""

from typing import Any, TypeAlias

from msgspec import Struct

Object: TypeAlias = dict[str, Any]


class Options(Struct, frozen=True):
    """Where Evento's own node runs (`namespace`), in which image, with how much storage; and the public key, if it signs calls."""

    namespace: str
    image: str
    storage: str
    public_key: str = ""
