"""Where a run computes: one CPU, one GPU, or the processes that `torchrun` started.

Plain DistributedDataParallel, not Lightning Fabric: the loop is ours either way (workers on CPU threads, resuming to
the bit), what is left of distribution is the few lines below, and torch is here already.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edge.errors import UsageError

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=12)  # the others wait while the first process asks the teachers


@dataclass(frozen=True)
class Place:
    """This process's device and its turn among `world` processes. `threads`: workers in this process (CPU only)."""

    device: torch.device = CPU
    rank: int = 0
    world: int = 1
    threads: int = 2

    @property
    def first(self) -> bool:
        """The process that writes files and talks."""
        return self.rank == 0

    @property
    def shares(self) -> int:
        """Into how many equal parts a batch is cut. Each has its own batch statistics; gradients are their mean."""
        return self.world * self.threads

    @property
    def autocast(self) -> torch.dtype:
        """The 16-bit type of mixed precision here."""
        weak = self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        return torch.float16 if weak else torch.bfloat16

    def name(self) -> str:
        """The device in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return models[0] if models else platform.processor() or platform.machine()

    def shared(self, module: nn.Module) -> nn.Module:
        """`module`, whose gradients after a backward pass are the mean over all processes."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, ids, forward_sync_buffers=False)

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes its mean over all processes."""
        if self.world > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor.div_(self.world)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def placed(device: str = "auto", threads: int = 2) -> Iterator[Place]:
    """The place `torchrun`'s environment and `device` ("auto", "cpu", "cuda") describe. Raises UsageError.

    Under torchrun each process is one worker; so is a GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device")
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if device == "cuda" else CPU
    threads = threads if world == 1 and here == CPU else 1
    torch.set_num_threads(1)  # torch's own threads meet in every operation, our workers once a step
    if here != CPU:
        torch.cuda.set_device(here)
    if world == 1:
        yield Place(here, threads=threads)
        return
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Place(here, rank, world, threads)
    finally:
        distributed.destroy_process_group()
