"""Which disks several machines may use at once, from what the kernel writes of its mounts."""

from pathlib import Path

import pytest

from assistant import network_disks
from assistant.network_disks import file_system

MOUNTS = r"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /export rw,nosuid shared:5 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /export/ann/far\040disk rw - fuse.sshfs ann@host:/ rw
32 21 0:42 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw,flock
33 21 0:43 / /covered rw - nfs server:/a rw
34 21 8:2 / /covered rw master:3 propagate_from:2 - xfs /dev/sdb rw
35 21 0:44 /sub /srv rw - tmpfs tmpfs rw

a line that is none
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/export/ann", "nfs4"),
        ("/exports", "ext4"),
        ("/export/ann/far disk/hone", "fuse.sshfs"),
        ("/scratch", "lustre"),
        ("/covered/x", "xfs"),
        ("/srv/x", "tmpfs"),
    ],
)
def test_a_folder_is_on_the_nearest_mount(folder: str, kind: str) -> None:
    assert file_system(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        *((kind, True) for kind in ("nfs", "cifs", "smb3", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.glusterfs")),
        *((kind, False) for kind in ("ext4", "btrfs", "tmpfs", "overlay", "fuseblk", "nfsd")),
    ],
)
def test_network_disks_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shared: bool) -> None:
    (tmp_path / "mountinfo").write_text(f"21 1 0:1 / {tmp_path} rw - {kind} source rw\n")
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(network_disks, "MOUNTS", tmp_path / "mountinfo")
    assert network_disks.is_shared(tmp_path) is shared
    assert network_disks.is_shared(tmp_path / "link") is shared
    assert network_disks.journal_mode(tmp_path) == ("DELETE" if shared else "WAL")


def test_a_kernel_that_does_not_tell_has_no_network_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_disks, "MOUNTS", tmp_path / "missing")
    assert not network_disks.is_shared(tmp_path)
    assert file_system(tmp_path, "") is None
