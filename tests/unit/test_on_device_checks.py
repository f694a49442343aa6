"""The logic of the on-device checks, on made-up findings and, where this machine can, on real ones."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import board
from edge.console.report import Row
from edge.errors import CaptureError, EdgeError
from edge.types import BoardReading, Zone
from tests.support import board_trees
from tools.on_device import ORDER, Context, Done, NotHereError, Options, Result, frames
from tools.on_device.checks import egl, engine, graphs, install, nvmm, soak, thermals, vic_sync
from tools.on_device.checks.egl import Display
from tools.on_device.checks.graphs import Rotation
from tools.on_device.frames import Seen, Tally, compare

PC = BoardReading(kind="pc", read_ns=0)


def context(folder: Path, reading: BoardReading = PC, **options: Any) -> Context:
    return Context(folder, Options(**options), reading)


# ---------------------------------------------------------------------------------------------- all


def test_every_check_is_in_the_order_and_says_what_it_is() -> None:
    folder = Path(soak.__file__).parent
    assert sorted(ORDER) == sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    for name in ORDER:
        check = importlib.import_module(f"tools.on_device.checks.{name}")
        assert check.TITLE
        assert check.LIMIT_S > 0


@pytest.mark.parametrize("name", ORDER)
def test_on_a_pc_each_says_what_it_needs(name: str, tmp_path: Path) -> None:
    check = importlib.import_module(f"tools.on_device.checks.{name}")
    with pytest.raises(NotHereError, match=r"^needs a Jetson.*: not a Jetson$"):
        check.run(context(tmp_path))


def test_a_command_and_its_log(tmp_path: Path) -> None:
    here = context(tmp_path)
    assert here.command(["sh", "-c", "echo said; exit 3"], log="a.log", limit_s=30) == Done(3, "said\n")
    assert (tmp_path / "a.log").read_text() == "said\n"
    assert here.command(["sleep", "60"], log="b.log", limit_s=0.05).code == -1
    with pytest.raises(NotHereError, match="needs no-such-tool"):
        here.command(["no-such-tool"], log="c.log", limit_s=1)


# ----------------------------------------------------------------------------------- thermals, install


@pytest.fixture
def nano(tmp_path: Path) -> BoardReading:
    with board_trees.grown("orin_nano_jp6", tmp_path) as root:
        return board.open(root).read()


def test_a_jetson_at_rest_passes(nano: BoardReading) -> None:
    result = thermals.judge(nano, 0.02)
    assert (result.outcome, result.said) == ("passed", "9 zones, 3 rails, mode MAXN_SUPER")
    assert result.figures["off"] == ["cv0-thermal", "cv1-thermal", "cv2-thermal"]
    assert result.figures["VDD_IN W"] == 5.721


@pytest.mark.parametrize(
    ("changes", "slowest_s", "said"),
    [
        ({"release": None}, 0.0, "no release"),
        ({"power_w": {"VDD_IN": None}}, 0.0, "no rail says its power"),
        ({"zones": {}}, 0.0, "no temperature"),
        ({"gpu_load": None}, 0.0, "no GPU load"),
        ({"throttled": ("gpu",)}, 0.0, "held back at rest: gpu"),
        ({"zones": {"cpu": Zone(temperature_c=80.0, limit_c=99.0)}}, 0.0, "less than 20 C below its limit at rest"),
        ({"problems": ("x: is empty",)}, 0.0, "cannot be believed: x: is empty"),
        ({}, 0.7, "a reading took 0.70 s"),
    ],
)
def test_what_a_reading_lacks(nano: BoardReading, changes: dict[str, Any], slowest_s: float, said: str) -> None:
    result = thermals.judge(msgspec.structs.replace(nano, **changes), slowest_s)
    assert (result.outcome, result.said) == ("failed", said)


def test_rows_of_check() -> None:
    assert install.judge([Row("target", True, "all there")]).outcome == "passed"
    result = install.judge([Row("target", True, "x"), Row("libraries", False, "missing: a", "apt install a")])
    assert (result.outcome, result.said) == ("failed", "libraries: missing: a (apt install a)")


# ------------------------------------------------------------------------------------------------- egl

NVIDIA = Display("NVIDIA", "1.5", True)


@pytest.mark.parametrize(
    ("default", "devices", "outcome", "said"),
    [
        (NVIDIA, [], "passed", "the default display is NVIDIA 1.5"),
        (Display("", "", False), [], "failed", "cannot be initialised: NVMM"),
        (Display("", "", False), [NVIDIA], "failed", "cannot be initialised, though a device has one"),
        (Display("Mesa Project", "1.5", True), [], "failed", "Mesa Project's, not NVIDIA's"),
        (NVIDIA._replace(images=False), [], "failed", "has no EGL_KHR_image_base"),
    ],
)
def test_displays(default: Display, devices: list[Display], outcome: str, said: str) -> None:
    result = egl.judge(default, devices)
    assert result.outcome == outcome
    assert said in result.said


def test_this_machines_own_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real calls into the real library, whatever it then offers."""
    monkeypatch.delenv("DISPLAY", raising=False)
    try:
        default, devices = egl.look()
    except EdgeError as exc:
        pytest.skip(str(exc))
    for display in (default, *devices):
        assert bool(display.vendor) == bool(display.version)
        assert display.vendor or not display.images


# ------------------------------------------------------------------------------------ nvmm and vic_sync

BLANK = np.zeros((16, 8, 4), np.uint8)


def shade(value: int) -> frames.Pixels:
    return np.full_like(BLANK, value)


def mixed(top: frames.Pixels, bottom: frames.Pixels) -> frames.Pixels:
    return np.concatenate([top[:8], bottom[8:]])


@pytest.mark.parametrize(
    ("got", "kind", "rows"),
    [
        (shade(90), "same", 0),
        (shade(91), "rounded", 16),
        (mixed(shade(90), shade(88)), "rounded", 8),
        (shade(40), "stale", 16),
        (mixed(shade(90), shade(40)), "torn", 8),
        (mixed(shade(90), shade(41)), "wrong", 8),
        (np.zeros((4, 4, 4), np.uint8), "wrong", 4),
    ],
)
def test_how_a_frame_compares(got: frames.Pixels, kind: str, rows: int) -> None:
    """Against shade 90, where the buffer held shades 40 and 20 before."""
    verdict = compare(got, shade(90), [shade(40), shade(20)])
    assert (verdict.kind, verdict.rows) == (kind, rows)


def test_the_pattern_through_two_real_pipelines_is_the_same_to_the_bit() -> None:
    one, other = frames.host((64, 48), 30), frames.host((64, 48), 30)
    try:
        found = frames.tally(frames.play(one), frames.play(other))
    finally:
        one.close()
        other.close()
    assert found.kinds == Counter(same=30)
    assert found.pitches == {64 * 4}


def played(size: tuple[int, int] = (64, 48), count: int = 24) -> list[Seen]:
    pipeline = frames.host(size, count)
    try:
        return list(frames.play(pipeline))
    finally:
        pipeline.close()


def test_a_frame_that_is_late_by_a_buffer_is_found() -> None:
    """The hardware was not done: the lower half of frame 12 still shows frame 4, which lay in the same buffer."""
    reference = played()
    assert [frame.number for frame in reference] == list(range(24))
    torn = reference[12].pixels.copy()
    torn[24:] = reference[4].pixels[24:]
    frames_seen = [*reference[:12], reference[12]._replace(pixels=torn), *reference[13:]]
    found = frames.tally(frames_seen, reference)
    assert found.kinds == Counter(same=23, torn=1)
    assert found.first_bad.startswith("frame 12: torn, 24 rows")
    result = vic_sync.judge(found, 24)
    assert result.outcome == "failed"
    assert result.said.startswith("1 frames are out of step; frame 12")


def test_dropped_frames_are_compared_with_their_own_number() -> None:
    reference = played()
    found = frames.tally(reference[::3], reference)
    assert found.kinds == Counter(same=8)
    assert vic_sync.judge(found, 24).said == "8 of 24 frames came"


def test_a_pipeline_that_breaks_says_why() -> None:
    pipeline = frames.gst.Pipeline(
        "videotestsrc ! identity name=tap error-after=2 ! appsink name=sink sync=false", "broken"
    )
    try:
        with pytest.raises(CaptureError, match="broken: "):
            list(frames.play(pipeline))
    finally:
        pipeline.close()


def seen(places: int = 8, first_bad: str = "", **kinds: int) -> Tally:
    return Tally(Counter(kinds), first_bad, set(range(places)), {1024})


@pytest.mark.parametrize(
    ("found", "outcome", "said"),
    [
        (seen(same=120), "passed", "120 frames at 8 addresses, none wrong"),
        (seen(same=100), "failed", "100 of 120 frames came"),
        (seen(same=119, wrong=1, first_bad="frame 3: wrong"), "failed", "frame 3: wrong"),
        (seen(places=1, same=120), "failed", "1 addresses: a pool of 8 was asked for"),
        (seen(places=120, same=120), "failed", "120 addresses: a pool of 8 was asked for"),
    ],
)
def test_nvmm(found: Tally, outcome: str, said: str) -> None:
    result = nvmm.judge(found, 120)
    assert (result.outcome, result.said) == (outcome, said)


def test_rounding_is_said() -> None:
    assert vic_sync.judge(seen(same=9, rounded=1), 10).said == "10 frames, but for rounding in 1 frames"
    assert vic_sync.judge(seen(same=10), 10).said == "10 frames, to the bit"
    assert vic_sync.judge(seen(wrong=10, first_bad="frame 0"), 10).said == "the picture itself is wrong; frame 0"


# ---------------------------------------------------------------------------------------------- graphs


def test_every_buffer_has_its_own_answer() -> None:
    found = graphs.rotate(lambda image: {"polyp": np.array([image])}, range(8))
    assert found.differences == []
    assert graphs.judge(found, []).outcome == "passed"


def test_a_graph_that_reads_another_buffer_is_found() -> None:
    """From its second replay on, buffer 3 answers as buffer 2 does."""
    asked: Counter[int] = Counter()

    def infer(image: int) -> dict[str, Any]:
        asked[image] += 1
        return {"polyp": np.array([2 if image == 3 and asked[image] > 3 else image])}

    found = graphs.rotate(infer, range(8))
    assert found.differences[0] == "buffer 3, round 3: polyp"
    assert len(found.differences) == graphs.ROUNDS - 3
    assert graphs.judge(found, []).said.startswith(f"{graphs.ROUNDS - 3} answers differ, first buffer 3")


def test_outputs_that_are_overwritten_are_copied_first() -> None:
    """A backend's answers are valid until its next call."""
    memory = np.zeros(1)

    def infer(image: int) -> dict[str, Any]:
        memory[0] = image
        return {"polyp": memory}

    assert graphs.rotate(infer, range(4)).differences == []


def test_a_graph_that_was_not_captured_fails() -> None:
    assert graphs.judge(Rotation([], 1.0, 1.0), ["no CUDA graph, ..."]).said == "no graph: no CUDA graph, ..."


# ---------------------------------------------------------------------------------------------- engine


def audited(share: float | None = 0.75) -> dict[str, Any]:
    """What `endoedge model audit --json` prints, shortened."""
    return {
        "ms": 0.8,
        "precisions": {
            "INT8": {"layers": 30, "ms": 0.6, "share": share},
            "FP16": {"layers": 4, "ms": 0.2, "share": 0.25},
        },
        "layers": [],
        "agreement": [{"head": "polyp", "measure": "mean Dice", "value": 0.99}],
        "use": "int8_trt",
        "why": "INT8 is 1.5 times as fast as FP16",
    }


def test_the_audit_is_read_from_its_last_line() -> None:
    result = engine.judge({"int8_trt": 571.0}, Done(0, f"progress\n{json.dumps(audited())}\n"))
    assert (result.outcome, result.said) == ("passed", "75% of the time in INT8; INT8 is 1.5 times as fast as FP16")
    assert result.figures["share of the time"] == {"INT8": 0.75, "FP16": 0.25}
    assert result.figures["polyp: mean Dice"] == 0.99


def test_an_engine_without_int8_fails() -> None:
    result = engine.judge({}, Done(0, json.dumps(audited(share=0.0))))
    assert (result.outcome, result.said) == ("failed", "no layer runs in INT8")


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Done(1, "x\nno GPU"), "the audit ended with code 1: no GPU"),
        (Done(-1, "..."), "the audit ran too long"),
        (Done(0, ""), "is not the object that was expected"),
        (Done(0, "well\n"), "is not the object that was expected"),
        (Done(0, "{}"), "is not the object that was expected"),
    ],
)
def test_an_audit_that_says_nothing(done: Done, said: str) -> None:
    result = engine.judge({}, done)
    assert result.outcome == "failed"
    assert said in result.said


def test_results_are_read_as_they_were_written() -> None:
    result = Result(outcome="passed", said="x", figures={"a": [1, "b"], "c": 1.5})
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
