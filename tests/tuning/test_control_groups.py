"""What the control groups of a process leave of memory, on folders as the kernel shows them."""

from pathlib import Path

import pytest

from tuning import control_groups
from tuning.control_groups import Limit
from tuning.jobs import memory
from tuning.model import footprint


def group(folder: Path, most: str, used: int, statistics: str, first: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(statistics)


def test_no_group_is_no_limit(tmp_path: Path) -> None:
    assert control_groups.limits(root=tmp_path) == []


def test_a_file_cache_that_fills_the_group_counts_as_free(tmp_path: Path) -> None:
    group(tmp_path, "4000", 3900, "anon 500\ninactive_file 2400\nactive_file 1000\n")
    assert control_groups.limits(root=tmp_path) == [Limit(4000, 500)]
    group(tmp_path, "max", 3900, "anon 500\n")
    assert control_groups.limits(root=tmp_path) == []


def test_the_first_version_counts_its_groups_as_a_whole(tmp_path: Path) -> None:
    statistics = "inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 100\n"
    group(tmp_path / "memory", "1000", 900, statistics, first=True)
    assert control_groups.limits(root=tmp_path) == [Limit(1000, 500)]
    group(tmp_path / "memory", str(2**63 - 4096), 900, statistics, first=True)
    assert control_groups.limits(root=tmp_path) == []


def test_the_groups_above_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "user" / "session"
    group(tmp_path / "user", "700", 100, "anon 100\n")
    group(inner, "900", 50, "anon 50\n")
    monkeypatch.setattr(control_groups, "_named", lambda pid, root: [inner, root / "gone" / "deeper"])
    assert sorted(control_groups.limits(root=tmp_path), key=str) == [Limit(700, 100), Limit(900, 50)]


def test_a_full_group_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limit(1000, 1200).free == 0
    monkeypatch.setattr(control_groups, "limits", lambda: [Limit(1000, 1200)])
    assert memory.available() == footprint.available_memory() == 0
    assert memory.total() == 1000
