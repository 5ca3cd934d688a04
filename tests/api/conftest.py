"""The HTTP face, served for real on a free port."""

from collections.abc import AsyncIterator

import pytest
from scripted import Server, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running
