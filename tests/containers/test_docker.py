"""A short part of what functions in containers promise, on Docker where that is installed: all other rooms are tested on Podman.

`EVENTO_TEST_ENGINE=docker pytest tests/containers` tests all of it on Docker instead.
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.containers import test_container as promises
from tests.containers.conftest import puppet_image
from tests.containers.engine import Engine, an_engine, kind_tested, why_not
from tests.containers.test_container import folder  # noqa: F401 - a fixture

Promise = Callable[[Engine, Path, str], Awaitable[None]]


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    """Give a Docker of our own."""
    if kind_tested() == "docker":
        pytest.skip("all is tested on Docker")
    if reason := why_not("docker"):
        pytest.skip(reason)
    place = Path(tempfile.mkdtemp(prefix="evd-"))
    try:
        with an_engine(place, "docker").serving() as running:
            yield running
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize(
    "promise",
    [
        promises.test_it_starts_when_needed_serves_and_is_gone_afterwards,
        promises.test_it_may_do_nothing_but_its_work,
        promises.test_a_crash_in_a_call_is_told_and_the_function_is_back_soon,
        promises.test_too_much_memory_is_told_as_such,
        promises.test_a_function_that_blocks_is_killed_and_replaced,
        promises.test_what_was_deployed_runs_whatever_the_name_stands_for_today,
        promises.test_a_container_that_somebody_removed_is_replaced,
        promises.test_what_a_killed_platform_left_behind_is_removed_at_the_next_start_and_nothing_of_others,
    ],
)
async def test_docker_keeps_the_promise(docker: Engine, folder: Path, promise: Promise) -> None:  # noqa: F811
    await promise(docker, folder, puppet_image(docker))
