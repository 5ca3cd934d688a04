"""Which revision of the function this process is (design §2)."""

import os
import sys
from hashlib import sha256
from pathlib import Path

from evento.sdk.namespace import Namespace

_HEX_DIGITS = 16


def revision_of(namespace: Namespace) -> str:
    """Return `$EVENTO_REVISION`, which whoever deployed the function sets, or else a hash of the declaring modules' sources."""
    given = os.environ.get("EVENTO_REVISION")
    if given:
        return given
    digest = sha256()
    for name in sorted(namespace.modules):
        source = getattr(sys.modules.get(name), "__file__", None)
        # The main module's name depends on how the program was started; its source does not.
        digest.update(b"\0" if source is None else Path(source).read_bytes())
    return digest.hexdigest()[:_HEX_DIGITS]
