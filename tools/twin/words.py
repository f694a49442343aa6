"""What the guest tells the host: one JSON object a line, over a virtio-serial port."""

from __future__ import annotations

import msgspec

from edge.types import Struct

PORT = "endoedge.results"
MODE = "endoedge.twin"  # on the kernel's command line: `endoedge.twin=run:NAME,NAME` or `endoedge.twin=shell`


class Up(Struct, frozen=True, kw_only=True, tag="up"):
    """The machine has booted. `uptime_s`: of the guest's kernel."""

    kernel: str
    uptime_s: float


class Tick(Struct, frozen=True, kw_only=True, tag="tick"):
    """The guest is alive. Its clock is not the host's: limits are counted in these."""

    uptime_s: float


class Began(Struct, frozen=True, kw_only=True, tag="began"):
    scenario: str


class Step(Struct, frozen=True, kw_only=True, tag="step"):
    """One thing done or seen; `at_s` since the scenario began."""

    scenario: str
    at_s: float
    text: str


class Ended(Struct, frozen=True, kw_only=True, tag="ended"):
    """`problem` is "" when all held. `measured`: name with unit → value, as the scenario chose them."""

    scenario: str
    problem: str
    seconds: float
    measured: dict[str, float]


class Runs(Struct, frozen=True, kw_only=True, tag="runs"):
    """What runs on a box that updates itself, and where its update stands: said whenever one of them changes."""

    state: str  # of the updater's memory; "" when there is none yet
    booted: str  # A, B, F
    sha256: str  # of the image in that slot, as long as it was written; "" for F
    version: str  # that the core says it is of; "" when it says nothing just now
    waits: tuple[str, ...] = ()  # what speaks against the next step, by its code
    refused: tuple[str, ...] = ()
    offered: str = ""


class File(Struct, frozen=True, kw_only=True, tag="file"):
    """Evidence: `name` is relative to the results folder."""

    name: str
    text: str


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """Nothing comes any more: the machine powers off. `problem`: why the agent gave up, or ""."""

    problem: str = ""


Word = Up | Tick | Began | Step | Ended | Runs | File | Done

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Word).decode
