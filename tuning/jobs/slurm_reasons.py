"""Why a job of Slurm waits, and how Slurm ended one: its codes in words, and what to do.

The codes are those of https://slurm.schedmd.com/job_reason_codes.html and of squeue(1).
"""

import re
from dataclasses import dataclass

_WAIT = "nothing is wrong; it starts by itself"
_LESS = "ask for less, or another partition or QOS, in [slurm]; `sacctmgr show assoc user=$USER` shows your limits"
_LATER = "wait until your other jobs, or your group's, have ended; `sacctmgr show assoc user=$USER` shows the limits"
_WRONG = "`hone jobs stop` it, correct [slurm] in your configuration file, and submit it again"
_ADMIN = "ask those who run the cluster"


@dataclass(frozen=True)
class Reason:
    meaning: str
    advice: str


_EXACT = {
    "None": Reason("Slurm has not looked at it yet", "wait some seconds; " + _WAIT),
    "Priority": Reason("jobs of a higher priority are ahead of it", _WAIT + "; `sprio` shows how priorities are made"),
    "Resources": Reason("it is first in line, and the nodes, cores, memory or GPUs it asks for are taken", _WAIT),
    "BeginTime": Reason(
        "its time to begin has not come; after a requeue Slurm waits some minutes before it starts a job again", _WAIT
    ),
    "Cleaning": Reason("what is left of its last start is being cleared away", _WAIT),
    "Prolog": Reason("its nodes are being prepared", _WAIT),
    "NodeDown": Reason("a node that it must have is down", "choose other nodes, or " + _ADMIN),
    "ReqNodeNotAvail": Reason(
        "nodes that it needs are down, drained or reserved, perhaps for maintenance before its time limit would end",
        "`sinfo -R` says which and why; a shorter `time` in [slurm] may let it run before a maintenance",
    ),
    "Reservation": Reason("its reservation has not begun", "wait for it; `scontrol show reservation` says when"),
    "ReservationDeleted": Reason("the reservation that it names is gone", _WRONG),
    "InvalidReservation": Reason("there is no such reservation, or it is not for you", _WRONG),
    "Dependency": Reason("it comes after a job that has not ended", _WAIT),
    "DependencyNeverSatisfied": Reason(
        "a job that it comes after did not end well, so it would wait for ever",
        "`hone jobs stop` it; resume the other one, then this one",
    ),
    "JobHeldUser": Reason("it is held, by you or in your name", "`scontrol release` with its number lets it go on"),
    "JobHeldAdmin": Reason("an administrator holds it", _ADMIN),
    "JobHoldMaxRequeue": Reason(
        "it was requeued as often as the cluster allows", "see its log, then `scontrol release` it, or " + _ADMIN
    ),
    "launch_failed_requeued_held": Reason(
        "it could not be started on its node, so Slurm holds it",
        "see its log and `sinfo -R`, then `scontrol release` with its number",
    ),
    "PartitionDown": Reason("its partition takes jobs but starts none now", "wait, or choose another `partition`"),
    "PartitionInactive": Reason("its partition is closed", "choose another `partition` in [slurm]; `sinfo` shows them"),
    "PartitionNodeLimit": Reason(
        "it asks for more nodes than its partition allows, or too many of them are down", _WRONG
    ),
    "PartitionTimeLimit": Reason("its time limit is longer than its partition's", _WRONG),
    "PartitionConfig": Reason("its partition cannot give what it asks for", _WRONG),
    "BadConstraints": Reason("no node can ever give what it asks for", _WRONG),
    "AccountNotAllowed": Reason("its account may not use this partition", _WRONG),
    "QOSNotAllowed": Reason("its account or partition may not use this QOS", _WRONG),
    "InvalidAccount": Reason("there is no such account, or you may not use it", _WRONG),
    "InvalidQOS": Reason("there is no such QOS, or you may not use it", _WRONG),
    "AccountingPolicy": Reason("a limit of your account or QOS stands against it", _LATER),
    "Licenses": Reason("the licences that it asks for are taken", _WAIT),
    "FrontEndDown": Reason("no front end of the cluster is there to start it", _ADMIN),
    "DeadLine": Reason("it can no longer end before its deadline", _WRONG),
    "FedJobLock": Reason("clusters that work together are settling where it runs", _WAIT),
    "MaxRequeue": Reason("it was requeued as often as the cluster allows", _ADMIN),
    "NodeFail": Reason("a node went down under it", _WAIT),
    "PreemptionInProgress": Reason("others' jobs are being ended to make room for it", _WAIT),
    "SystemFailure": Reason("Slurm itself failed", _ADMIN),
}
_PATTERNS = (
    (r"(Assoc|QOS)Grp.*(Minutes|RunMinutes)", Reason("the hours granted to your group are used up", _ADMIN)),
    (r"(Assoc|QOS)Grp", Reason("your group has reached a limit of what may be used at once", _LATER)),
    (r"(AssocMax|QOSMax|Max)(Jobs|SubmitJobs?)", Reason("you have as many jobs as are allowed", _LATER)),
    (r"(AssocMax|QOSMax|Max).*PerUser", Reason("your jobs together have reached a limit of what you may use", _LATER)),
    (r"(AssocMax|QOSMax|Max).*(PerAccount|PA$)", Reason("your account has reached a limit of what it may use", _LATER)),
    (r"(AssocMax|QOSMax|Max)", Reason("it asks for more than one job may have", _LESS)),
    (r"QOSMin", Reason("it asks for less than its QOS takes", _WRONG)),
    (r"(Assoc|QOS)", Reason("a limit of your account or QOS stands against it", _LATER)),
    (r"BurstBuffer", Reason("its burst buffer is not ready", _WAIT)),
)
"""The first that begins a code."""

_ENDS = {
    "BOOT_FAIL": "a node of it could not be started",
    "CANCELLED": "it was cancelled in Slurm",
    "COMPLETED": "Slurm says that it ended well, but it left no record",
    "DEADLINE": "its deadline came",
    "FAILED": "it ended before it could say why; the log may tell",
    "NODE_FAIL": "a node of it went down",
    "OUT_OF_MEMORY": "it took more memory than it had asked for; give more by --memory-gb",
    "PREEMPTED": "another job took its place",
    "REVOKED": "another cluster has taken it",
    "TIMEOUT": "its time limit came",
}
"""Of job states that are final."""
WAITING = frozenset(
    ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
)


def explained(code: str) -> Reason:
    """What the code of a waiting job means."""
    # `ReqNodeNotAvail, UnavailableNodes:n[1-2]`
    key = re.split(r"[,( ]", code, maxsplit=1)[0]
    if key in _EXACT:
        return _EXACT[key]
    for pattern, reason in _PATTERNS:
        if re.match(pattern, key):
            return reason
    return Reason("a reason that this Hone does not know", f"`scontrol show job` says more, or {_ADMIN}")


def ending(state: str) -> str | None:
    """What a final state means; None for one that is not final."""
    return _ENDS.get(state)
