"""What the SDK tells a function's author: at import time about declarations, at run time about one item."""


class DeclarationError(TypeError):
    """A declaration contradicts itself, another one, or the rules of the platform."""


class CodecError(ValueError):
    """The bytes are not of the schema, or the value does not fit it."""


class ItemFailed(Exception):
    """One item of a call failed; `code` is a word of the protocol's list (function.md, rule 30)."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message[:MESSAGE_CHARS_MAX]
        super().__init__(f"{code}: {self.message}")


MESSAGE_CHARS_MAX = 1000


def describe(error: BaseException) -> str:
    """Return an exception's type and text: what goes over the wire of it."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
