"""The contract's assertions are shown in full when they fail."""

import pytest

for part in ("contract", "reading", "samples"):
    pytest.register_assert_rewrite(f"evento.testing.journal_{part}")
