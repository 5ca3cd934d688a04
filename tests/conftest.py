"""Fixtures for all rooms: the broker that everything about Kafka is tested on."""

import pytest

pytest.register_assert_rewrite("tests.kafka.fixtures")

pytest_plugins = ["tests.kafka.fixtures"]
