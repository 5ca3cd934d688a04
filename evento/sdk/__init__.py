"""What a user's function imports (design §4, §5): declare Entities, Commands and Events as classes, and serve them.

Knows nothing of the platform: only the function protocol, Avro and an HTTP server.
"""

from evento.sdk.context import Context
from evento.sdk.declared import Retry
from evento.sdk.errors import DeclarationError
from evento.sdk.namespace import Namespace
from evento.sdk.types import Float32, Int32, Precision

__all__ = ["Context", "DeclarationError", "Float32", "Int32", "Namespace", "Precision", "Retry"]
