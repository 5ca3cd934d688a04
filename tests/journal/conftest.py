"""The contract's assertions are shown in full when they fail."""

import pytest

pytest.register_assert_rewrite("evento.testing.journal_contract")
