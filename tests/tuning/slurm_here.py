"""A Slurm of this machine alone, for tests: its own key, ports and folder, a controller, and two nodes.

Debian's build lets several node daemons run on one machine. Nothing of the system's own Slurm is read or touched.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

NODES = ("n1", "n2")
_SECONDS = 120

_CONFIGURATION = """\
ClusterName=hone
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,default_queue_depth=100
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=15
SlurmdTimeout=4
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=8000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 MaxTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
PartitionName=closed Nodes=n1,n2 State=DOWN
"""


def installed() -> bool:
    return all(shutil.which(program) for program in ("slurmctld", "slurmd", "munged", "sbatch"))


class Cluster:
    """Running until `end`; `SLURM_CONF` of this process points to it."""

    def __init__(self) -> None:
        # A socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="hone-slurm-"))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        ports = _free_ports(3)
        self._conf = self.folder / "slurm.conf"
        self._conf.write_text(
            _CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                user=getpass.getuser(),
                folder=self.folder,
                controller=ports[0],
                first=ports[1],
                second=ports[2],
            )
        )
        (self.folder / "state").mkdir()
        os.environ["SLURM_CONF"] = str(self._conf)
        try:
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D", "-i", "-f", str(self._conf))
            for node in NODES:
                self.start_node(node)
            until(lambda: _states() == ["idle", "idle"], "two idle nodes", self._told)
        except BaseException:
            self.end()
            raise

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._start(node, "slurmd", "-D", "-N", node, "-f", str(self._conf))

    def lose_node(self, node: str) -> None:
        """The daemon is killed; what it started stays, as on a node that is cut off."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def idle(self) -> None:
        """Until nothing runs and both nodes are free."""
        slurm("scancel", f"--user={getpass.getuser()}")
        until(lambda: not slurm("squeue", "--noheader").strip(), "an empty queue", self._told)
        until(lambda: _states() == ["idle", "idle"], "two idle nodes", self._told)

    def end(self) -> None:
        if "slurmctld" in self._daemons:
            with suppress(subprocess.SubprocessError):
                slurm("scancel", f"--user={getpass.getuser()}")
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        self._start(
            "munged", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.sock", *files.values()
        )
        until((self.folder / "munge.sock").exists, "munge", self._told)

    def _start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.out").open("wb")
        program = shutil.which(command[0])
        assert program is not None
        self._daemons[name] = subprocess.Popen(
            [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def _told(self) -> str:
        """The end of what each daemon said."""
        texts = [file.read_text("utf-8", "replace")[-1500:] for file in sorted(self.folder.glob("*.log"))]
        texts += [file.read_text("utf-8", "replace")[-500:] for file in sorted(self.folder.glob("*.out"))]
        return "\n".join(texts)


def start() -> Cluster:
    """Skips where Slurm is not installed."""
    if not installed():
        pytest.skip("Slurm is not installed here (Debian: slurm-wlm)")
    return Cluster()


def slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def until(condition: Callable[[], Any], what: str, told: Callable[[], str] = str) -> None:
    """The limit only ends a test that would hang."""
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} never happened\n{told()}"
        time.sleep(0.1)


def _states() -> list[str]:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"], capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports
