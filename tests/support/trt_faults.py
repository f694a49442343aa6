"""What a test asks of the fake TensorRT, and sees of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Faults:
    """What goes wrong from now on."""

    no_gpu: bool = False  # nothing can be constructed: the bindings raise TypeError
    build: str = ""  # what the build says, and makes no engine
    enqueue: str = ""  # what an inference says, and is not run
    enqueue_captured: bool = False  # the engine cannot be captured into a graph
    context: str = ""  # what the making of an execution context says
    bind: bool = False  # an address is refused
    timing_mismatch: bool = False  # the timing cache is another GPU's


@dataclass
class Seen:
    """What was done to it."""

    timing_caches: list[bytes] = field(default_factory=list)
    workspace: int = 0
    flags: int = 0
    executions: list[int] = field(default_factory=list)  # input addresses, in the order of the GPU's own work
