"""The soak: a real one of a few seconds, and what a long one may not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.types import BoardReading, SignalState, Zone
from tools.on_device import Context, Options
from tools.on_device.checks import soak

PC = BoardReading(kind="pc", read_ns=0)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[soak.Sample], Path]:
    """The real core on the real model for four seconds, on a processor."""
    folder = tmp_path_factory.mktemp("soak")
    return soak.play(Context(folder, Options(), PC), "onnx", 4.0, (320, 240), fps=5), folder


@pytest.fixture
def good(real: tuple[list[soak.Sample], Path]) -> list[soak.Sample]:
    """Those samples, made good whatever this machine was busy with meanwhile, and many."""
    first = real[0][0]
    board_said = BoardReading(
        kind="jetson",
        read_ns=0,
        zones={"gpu": Zone(temperature_c=60.0, limit_c=99.0)},
        power_w={"VDD_IN": 14.0},
    )
    samples = []
    for second in range(40):
        source = msgspec.structs.replace(first.status.source, frames=60 * second, dropped=0, host_copies=0)
        said = msgspec.structs.replace(
            first.status, source=source, board=board_said, updated_ns=second, state=SignalState.LIVE, effort="full"
        )
        samples.append(soak.Sample(at_s=float(second), rss_bytes=2**28, status=said))
    return samples


def test_a_real_soak_leaves_its_samples(real: tuple[list[soak.Sample], Path]) -> None:
    samples, folder = real
    assert len(samples) >= 2
    assert samples[-1].at_s - samples[0].at_s >= 2
    assert samples[-1].status.source.frames > samples[0].status.source.frames
    assert samples[-1].status.model.backend == "onnx"
    lines = (folder / "soak.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=soak.Sample) for line in lines] == samples
    assert soak.judge(samples).figures["frames"] > 0


def test_a_good_soak(good: list[soak.Sample]) -> None:
    result = soak.judge(good)
    assert (result.outcome, result.said) == ("passed", "2340 frames in 39 s, none amiss")
    assert result.figures["fps"] == 60.0
    assert result.figures["least room"] == "gpu 39.0 C"
    assert result.figures["VDD_IN mean W"] == 14.0


def spoilt(samples: list[soak.Sample], what: str) -> list[soak.Sample]:
    def change(sample: soak.Sample, **changes: Any) -> soak.Sample:
        return msgspec.structs.replace(sample, status=msgspec.structs.replace(sample.status, **changes))

    last = samples[-1]
    source = last.status.source
    assert last.status.board is not None
    return {
        "stands": [*samples, *(msgspec.structs.replace(last, at_s=40.0 + n) for n in range(4))],
        "state": [*samples[:20], change(samples[20], state=SignalState.NO_SIGNAL), *samples[21:]],
        "fault": [*samples[:20], change(samples[20], fault="disk full"), *samples[21:]],
        "effort": [*samples[:20], change(samples[20], effort="half"), *samples[21:]],
        "held": [
            *samples[:20],
            change(samples[20], board=msgspec.structs.replace(last.status.board, throttled=("gpu",))),
            *samples[21:],
        ],
        "dropped": [*samples[:-1], change(last, source=msgspec.structs.replace(source, dropped=100))],
        "memory": [*samples[:-1], msgspec.structs.replace(last, rss_bytes=2**28 + 2**25)],
        "copies": [*samples[:-1], change(last, source=msgspec.structs.replace(source, host_copies=1))],
        "none": samples[:1],
    }[what]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("stands", "the status file stands still"),
        ("state", "states were live, no_signal"),
        ("fault", "faults: disk full"),
        ("effort", "the effort fell to half"),
        ("held", "held back: gpu"),
        ("dropped", "100 of 2440 frames dropped"),
        ("memory", "memory grew by 12.5% after it had settled"),
        ("copies", "pictures were copied: {'host_copies': 1}"),
        ("none", "the core did not come up, or ended at once; see soak-core.log"),
    ],
)
def test_what_a_soak_may_not_show(good: list[soak.Sample], what: str, said: str) -> None:
    result = soak.judge(spoilt(good, what))
    assert (result.outcome, result.said) == ("failed", said)
