"""Limits that an engine did not take are named; what engines tell of a container is as they tell it."""

from typing import Any

import pytest

from evento.functions.lockdown import container_config, not_in_force
from evento.model.resources import FunctionSpec

CONFIG = container_config(FunctionSpec("a", "b", image="c:1"), image_id="sha256:1", image_user="", folder="/f", platform="p")
FILES = {"Hard": 1024, "Soft": 1024}
DOCKER = {"Memory": 536870912, "NanoCpus": 1000000000, "PidsLimit": 256, "Ulimits": [{"Name": "nofile", **FILES}]}
PODMAN = DOCKER | {"Ulimits": [{"Name": "RLIMIT_NOFILE", **FILES}]}
# Podman 4.3 of an ordinary user, with cgroups v1
NOTHING = {"Memory": 0, "NanoCpus": 0, "PidsLimit": 0, "Ulimits": []}


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        (DOCKER, []),
        (PODMAN, []),
        (NOTHING, ["memory", "CPU", "processes", "open files"]),
        (DOCKER | {"PidsLimit": None}, ["processes"]),
        (DOCKER | {"Memory": -1}, ["memory"]),
    ],
)
def test_a_limit_that_is_asked_for_and_not_there_is_named(told: dict[str, Any], missing: list[str]) -> None:
    assert not_in_force(CONFIG, told) == missing
