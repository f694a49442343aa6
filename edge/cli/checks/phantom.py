"""The software colon through the straight path, with the site's own engine, heads and rules: does the box say what it
should?

What it should say is `golden/NAME.json` beside the pipeline `NAME.toml`. The clip lies next to it, rendered once, so
that every box sees the same frames. `tools/golden_events.py` makes both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge import core
from edge.capture import file as file_source
from edge.cli import assemble
from edge.cli.checks.trying import NotTriedError, tried
from edge.cli.site import Site
from edge.console.report import Row
from edge.errors import ConfigError, EdgeError
from edge.ledger import InMemory, Ledger
from edge.messages import Event
from edge.timing import Stages
from edge.types import Backend, Findings, Gap, Model, Struct

WITHIN_S = 60.0  # a clip of ten seconds; a desk machine takes three
MEND = "the rows of model and golden vectors say more; is this the released pipeline?"
SAYS = ("kind", "state", "view", "label")  # what an event is about, by its kind


class Told(Struct, frozen=True, kw_only=True):
    """One event. `about`: the alert's kind, the signal's state, and so on."""

    event: str
    about: str
    frame: int  # of the clip, from 0


class Golden(Struct, frozen=True, kw_only=True):
    """`golden/NAME.json`: made of a released model by the reference backend."""

    made_by: str
    pipeline_sha256: str
    model: str
    model_version: str
    clip: str
    clip_sha256: str
    fps: int
    frames_off: int  # that an event may come earlier or later, since processors round differently
    events: list[Told]


def row(site: Site, loaded: Model, backend: Backend) -> Row:
    return tried("phantom", lambda: _compared(site, loaded, backend), MEND)


def _compared(site: Site, loaded: Model, backend: Backend) -> str:
    if backend.name == "null":
        raise NotTriedError("the null backend runs no model")
    golden, clip = load(Path(site.pipeline_file))
    begun = time.monotonic()
    events = watched(site, loaded, backend, clip)
    spent_s = time.monotonic() - begun
    wrong = differences(told(events, golden.fps), golden)
    if wrong:
        raise EdgeError("; ".join([*wrong, *_other(site, loaded, golden)]))
    return f"{len(events)} events, each as it should be; {spent_s:.1f} s on {backend.name}"


def load(pipeline: Path) -> tuple[Golden, Path]:
    """Golden events and their clip. Raises NotTriedError where a pipeline has none, ConfigError for what is broken."""
    path = pipeline.parent / "golden" / f"{pipeline.stem}.json"
    if not path.is_file():
        raise NotTriedError(f"pipeline {pipeline.stem} has no golden events ({path})")
    try:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    clip = path.with_name(golden.clip)
    if digest(clip) != golden.clip_sha256:
        raise ConfigError(f"{clip}: is not the released clip (its sha256 differs from {path.name}'s)")
    return golden, clip


def digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def watched(site: Site, loaded: Model, backend: Backend, clip: Path) -> list[Event]:
    """All that the box would have said of the clip. Raises EdgeError, also when it takes longer than WITHIN_S."""
    config = file_source.Config(path=str(clip), rate="max")
    heads, rules = assemble.open_heads(site, loaded), assemble.open_rules(site)
    source = file_source.open(config, loaded.size, assemble.backend_reads(site))
    store, until = InMemory(), time.monotonic() + WITHIN_S

    def report(moment: Gap | Findings, events: Sequence[Event]) -> None:
        del moment, events

    try:
        stages, ledger = Stages(core.STAGES), Ledger(lambda: store)
        last = core.run(source, backend, heads, rules, ledger, stages, report, stop=lambda: time.monotonic() > until)
    finally:
        source.close()
    if not isinstance(last, Gap) or not last.final:
        raise EdgeError(f"not at the end of the clip within {WITHIN_S:.0f} s")
    return store.events


def told(events: Sequence[Event], fps: int) -> list[Told]:
    return [Told(event=_tag(event), about=_about(event), frame=round(event.media_ns * fps / 1e9)) for event in events]


def _tag(event: Event) -> str:
    return str(type(event).__struct_config__.tag)


def _about(event: Event) -> str:
    said = next((getattr(event, name) for name in SAYS if getattr(event, name, None)), "")
    return str(getattr(said, "value", said))


def differences(found: Sequence[Told], golden: Golden) -> list[str]:
    """What is missing, and what is too much. An event of another order is one of another frame."""
    left, wrong = list(found), []
    for wanted in golden.events:
        near = [
            one
            for one in left
            if (one.event, one.about) == (wanted.event, wanted.about)
            and abs(one.frame - wanted.frame) <= golden.frames_off
        ]
        if near:
            left.remove(min(near, key=lambda one: abs(one.frame - wanted.frame)))
        else:
            wrong.append(f"not said: {_words(wanted)}")
    return wrong + [f"said, and should not be: {_words(one)}" for one in left]


def _words(one: Told) -> str:
    return f"{one.event} {one.about}".strip() + f" at frame {one.frame}"


def _other(site: Site, loaded: Model, golden: Golden) -> list[str]:
    """A reason for all of it."""
    here = (digest(Path(site.pipeline_file)), loaded.manifest.name, loaded.manifest.version)
    if here == (golden.pipeline_sha256, golden.model, golden.model_version):
        return []
    return [f"they are of {golden.model} {golden.model_version} and of a pipeline that this one is not"]
