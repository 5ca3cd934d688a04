"""Fixtures for all rooms: the broker that everything about Kafka is tested on. And no test fails by chance, nor for being slow."""

import pytest
from hypothesis import settings

# The same examples each time, and no limit of time for one. `--hypothesis-profile=default` looks for others.
settings.load_profile("ci")
pytest.register_assert_rewrite("tests.kafka.fixtures")

pytest_plugins = ["tests.kafka.fixtures"]
