"""Several processes of one run: how they find each other, agree, and give a whole model back.

Started by `accelerate launch`, or by torchrun, one process per device. All of them load, train and validate; the first
one alone decides, writes and reports.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from assistant.errors import HoneError
from tuning.trackers import check_tracker

PATIENCE = timedelta(hours=6)
"""How long processes of a run wait for each other; torch's default is 10 minutes on GPUs and 30 on CPUs."""


def launched() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes and reports; known before torch is asked for anything."""
    return int(os.environ.get("RANK", "0")) == 0


def start(tracker: str = "none", folder: Path | None = None) -> Any:
    """The accelerator of this process. Call it before anything else of accelerate, which would settle on one process.

    Args:
        tracker: as in `Plan.tracker`.
        folder: where a tracker that writes files puts them.

    Raises:
        HoneError: the tracker is not installed, or the way of sharding is not one we can use.
    """
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    check_tracker(tracker)
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if sharded:
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise HoneError("torch has given up the first version of FSDP; add --fsdp_version 2 to `accelerate launch`")
        # One unit for the whole model, the default, would be gathered whole and so save nothing.
        if os.environ.get("FSDP_AUTO_WRAP_POLICY", "NO_WRAP") == "NO_WRAP":
            os.environ["FSDP_AUTO_WRAP_POLICY"] = "TRANSFORMER_BASED_WRAP"
    # Without a GPU accelerate takes each process for a run of its own, unless it is told that they compute on the CPU.
    on_cpu = launched() > 1 and not torch.cuda.is_available() and not torch.xpu.is_available()
    accelerator = Accelerator(
        cpu=on_cpu,
        # The others wait while the first process makes the corpus, longer than torch waits by itself.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        log_with=None if tracker == "none" else tracker,
        project_dir=None if folder is None else str(folder),
    )
    if accelerator.num_processes != launched():
        raise HoneError(
            f"{launched()} processes were launched and {accelerator.num_processes} of them found each other; start "
            "them with `accelerate launch` or torchrun"
        )
    if sharded:
        _shard_on_cpu(accelerator)
    return accelerator


def _shard_on_cpu(accelerator: Any) -> None:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        # accelerate 1.15 takes FSDP's settings for GPUs alone; what it then does (`fully_shard`) works on gloo too.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP


def is_sharded(accelerator: Any) -> bool:
    return bool(accelerator.is_fsdp2)


def sum_gradients(wrapped: Any) -> None:
    """Lets a sharded model's gradients be summed and then divided: gloo cannot average."""
    from torch.distributed.fsdp import FSDPModule

    for module in wrapped.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)


def agreed(accelerator: Any, *values: float) -> list[float]:
    """The first process's values, in every process. Clocks and Ctrl-C differ between processes; a run must not."""
    if accelerator.num_processes == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    torch.distributed.broadcast(tensor, 0)
    return list(tensor.tolist())


def full(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor that may be sharded. If it is, every process must ask."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(whole: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """`whole` on the device of `tensor`, a copy, sharded as `tensor` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(tensor, DTensor):
        return distribute_tensor(whole.to(tensor.device), tensor.device_mesh, tensor.placements)
    return whole.to(tensor.device, copy=True)


def whole(model: Any, rebuild: Callable[[], Any]) -> Any:
    """The trained model in one piece. Every process must ask.

    Args:
        rebuild: makes the model as it was before training.

    Returns:
        `model` where it is not sharded. Else a fresh one with the trained weights in the first process, and None in
        the others.
    """
    from torch.distributed.tensor import DTensor

    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not any(isinstance(parameter, DTensor) for parameter in named.values()):
        return model
    weights = {name: full(parameter).detach().cpu() for name, parameter in named.items()}
    if not is_first():
        return None
    fresh = rebuild()
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
    return fresh
