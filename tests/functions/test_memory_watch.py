"""What cannot be watched is not; whom the kernel ended, real containers show (tests/containers)."""

import os
from pathlib import Path

import pytest

from evento.functions.memory_watch import watch_memory


@pytest.mark.parametrize(
    ("cgroup", "container_id"),
    [
        ("4:memory:/docker/abc\n", ""),  # the engine did not say which
        ("4:memory:/docker/abc\n", "abd"),  # the number is another process's by now
        ("0::/docker/abc\n", "abc"),  # cgroups v2
        ("4:memory:/docker/abc\n", "abc"),  # not here, or not ours
    ],
)
def test_what_cannot_be_watched_is_none(tmp_path: Path, cgroup: str, container_id: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(cgroup)
    assert watch_memory(7, container_id, mount=tmp_path / "no", proc=tmp_path) is None
    assert watch_memory(8, container_id, mount=tmp_path / "no", proc=tmp_path) is None
    assert len(os.listdir("/proc/self/fd")) == before
