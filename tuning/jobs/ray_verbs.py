"""What is done with jobs of Ray: send, hand over, stop."""

import math
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from assistant.errors import HoneError
from tuning.jobs import ray_api, ray_package, ray_state, state
from tuning.jobs.command import HONE
from tuning.jobs.job import Job
from tuning.jobs.ray_package import Package
from tuning.jobs.ray_settings import RaySettings, custom
from tuning.jobs.spec import Spec, Step

_MARGIN_SECONDS = 10
"""After a step was killed for not leaving in time, its supervisor writes the record."""
_NODES = ("-P", "-m", "tuning.jobs.ray_nodes")


def placed(step: Step, ours: RaySettings, submitting: str) -> Step:
    """The step with its commands as they are run there: by the nodes' interpreter, and a tuning run on all of them.

    Args:
        submitting: the interpreter that the commands were written for.
    """

    def words(argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv or argv[0] != submitting:
            return argv
        if not step.run or ours.nodes * max(ours.gpus, 1) == 1:
            return (ours.python, *argv[1:])
        reserved = [f"{name}={amount:g}" for name, amount in ray_state.needs(ours).items()]
        # `-m tui tune ...`, which the launcher starts as it stands.
        module = argv[len(HONE) - 2 :]
        counts = (str(ours.nodes), str(max(ours.gpus, 1)))
        return (ours.python, *_NODES, *counts, *reserved, "--", *ours.launch, "--", *module)

    return replace(step, argv=words(step.argv), resume=words(step.resume))


def pack(wanted: Spec, job: Job | None = None) -> Package:
    """What is sent for a job: Hone, and the repository unless the job has it already. Takes its time, so the caller
    holds no lock.

    Raises:
        HoneError: Ray does not answer, or the repository cannot be packed.
    """
    ours = wanted.ray
    assert ours is not None
    ray_api.check(ours)
    there = job is not None and ray_package.is_placed(job.folder)
    return ray_package.build(ray_package.root_of(Path(wanted.folder)) if ours.upload and not there else None)


def deliver(ours: RaySettings, package: Package) -> str:
    """Sends a package unless Ray has it; its address there. Takes its time too.

    Raises:
        HoneError: Ray does not take it.
    """
    if not ray_api.has_package(ours, package.name):
        ray_api.put_package(ours, package.name, package.data)
    return f"gcs://{package.name}"


def launch(job: Job, wanted: Spec, package: str, again: int = 0) -> None:
    """Hands a job over; the caller holds `changing`.

    Args:
        package: its address, as `deliver` gives it.
        again: how often this attempt was handed over before, to no answer.

    Raises:
        HoneError: Ray refuses, or the disk does.
    """
    ours = wanted.ray
    assert ours is not None
    taken = f"hone-{job.id}-{state.attempt(job)}" + (f"-{again}" if again else "")
    try:
        # Before it can be started: it asks whether it is still the one that is wanted.
        ray_state.forget_log(job)
        ray_api.keep_submission(job, taken)
    except OSError as error:
        raise HoneError(f"cannot write in {job.folder}: {error.strerror or error}") from error
    try:
        ray_api.submit(ours, request(job, wanted, taken, package))
    except HoneError:
        ray_api.forget_submission(job)
        raise


def request(job: Job, wanted: Spec, taken: str, package: str) -> dict[str, object]:
    """The body of the submission, see the Jobs API."""
    ours = wanted.ray
    assert ours is not None
    below = []
    if ours.upload:
        folder = Path(wanted.folder)
        below = [folder.resolve().relative_to(ray_package.root_of(folder)).as_posix()]
    command = shlex.join([ours.python, "-P", "-m", "tuning.jobs.ray_batch", str(job.folder), taken, *below])
    found: dict[str, object] = {
        "submission_id": taken,
        # Ray starts it where it has unpacked the package.
        "entrypoint": f'export PYTHONPATH="$PWD${{PYTHONPATH:+:$PYTHONPATH}}"; exec {command}',
        "runtime_env": {
            "working_dir": package,
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(wanted.stop_seconds) + _MARGIN_SECONDS)},
        },
        "metadata": {"hone_job": job.id},
        "entrypoint_num_cpus": ours.cores,
        "entrypoint_num_gpus": ours.gpus,
        "entrypoint_memory": round(ours.memory_gb * 1e9),
        "entrypoint_resources": custom(ours.resources),
    }
    return {key: value for key, value in found.items() if value not in (0, {})}


def stop(job: Job, ours: RaySettings) -> None:
    """A job that runs leaves with a checkpoint. One that waits ends here: Ray cannot take it back, and should its turn
    come all the same it leaves at once.

    Raises:
        HoneError: Ray does not do it.
    """
    taken = ray_api.submission(job)
    found = ray_api.seen(ours, taken, at_once=True) if taken is not None else None
    if taken is None or found is None:
        raise HoneError(f"Ray at {ours.address} knows no job {taken or job.id}; ask again in a moment")
    with suppress(OSError):
        job.note("stop asked")
    ray_api.stop(ours, taken)
