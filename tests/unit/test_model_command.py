"""`endoedge model build` and `audit`, over the fakes and over saved files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge import cli
from edge.cli import agreement, assemble
from edge.infer import tensorrt
from edge.infer.engine_build import Begun, Building, Done, Serving, Step
from edge.types import ModelHead
from tests.support import desk, models
from tests.support.fake_tensorrt import Fake
from tests.support.waiting import wait_for
from tests.unit.test_inspector import PROFILE, TEN


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return desk.site(tmp_path)


def engines(site: Path) -> list[str]:
    return sorted(path.name for path in (site.parent / "engines").glob("*.plan"))


def test_an_engine_is_built_checked_kept_and_then_serves(
    trt: Fake, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["model", "build", "-c", str(site)]) == 0
    assert "answers checked" in capsys.readouterr().out
    assert len(engines(site)) == 1
    place = assemble.load_site(site)
    loaded = assemble.load_model(place)
    assert loaded.precision == "int8_trt"  # the backend's own, without anybody saying so
    backend = assemble.open_backend(place, loaded)
    assert backend.infer(np.zeros((models.SIZE, models.SIZE, 4), np.uint8))["polyp"].max() == -8
    assert assemble.renewed(place, loaded, backend) is None
    backend.close()


def test_programs_get_one_line_a_step(trt: Fake, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["model", "build", "-c", str(site), "--events"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"type": "engine_step", "phase": "Building the engine", "done": 0, "total": 3}
    assert lines[-1]["type"] == "engine_built"


def test_a_build_that_fails_is_one_line_and_leaves_no_engine(
    trt: Fake, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt.faults.build = "Insufficient workspace"
    assert cli.main(["model", "build", "-c", str(site), "--events"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["type"] == "engine_failed"
    assert "Insufficient workspace" in err
    assert len(err.splitlines()) == 1
    assert engines(site) == []


def test_an_engine_of_another_tool_is_taken_after_the_same_check(
    trt: Fake, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (site.parent / "models" / models.NAME / "int8_trt.onnx").read_bytes()
    good, foreign = tmp_path / "good.plan", tmp_path / "foreign.plan"
    good.write_bytes(trt.plan(content))
    foreign.write_bytes(b"ELF" * 99)
    assert cli.main(["model", "build", "-c", str(site), "--plan", str(foreign)]) == 1
    assert "its engine cannot be loaded: " in capsys.readouterr().err
    assert engines(site) == []
    assert cli.main(["model", "build", "-c", str(site), "--plan", str(good)]) == 0
    assert len(engines(site)) == 1


def test_an_engine_with_other_answers_is_not_kept(
    trt: Fake, site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a driver's bug: what TensorRT made of the graph computes something else."""
    import onnx

    whole = trt.plan

    def spoilt(content: bytes, *arguments: object) -> bytes:
        graph = onnx.load_from_string(content)
        next(weight for weight in graph.graph.initializer if weight.name == "below").raw_data = np.float32(5).tobytes()
        return whole(graph.SerializeToString(), *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trt, "plan", spoilt)
    assert cli.main(["model", "build", "-c", str(site)]) == 1
    assert "gives other answers and is not used: polyp: off by at most 3" in capsys.readouterr().err
    assert engines(site) == []


@pytest.mark.parametrize(
    ("infer", "extra", "why"),
    [
        ('backend = "onnx"', [], "infer.backend is 'onnx'; engines are for \"tensorrt\""),
        ('backend = "tensorrt"', [], "files.int8_trt is missing; the model has"),
        ('backend = "tensorrt"\ncache_mib = 3', [], "infer.cache_mib"),
    ],
)
def test_what_cannot_be_built_is_said(
    infer: str, extra: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = desk.site(tmp_path, infer, models.PRECISIONS)
    assert cli.main(["model", "build", "-c", str(site), *extra]) != 0
    assert why in capsys.readouterr().err


def test_another_power_mode_gets_an_engine_while_the_old_one_serves(
    trt: Fake, site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole of it: a build in a real process (over the fakes there), the change-over here."""
    mode = tmp_path / "status"
    monkeypatch.setattr(tensorrt, "POWER_MODE", mode)
    mode.write_text("pmode:0000")
    assert cli.main(["model", "build", "-c", str(site)]) == 0
    mode.write_text("pmode:0002")
    place = assemble.load_site(site)
    loaded = assemble.load_model(place)
    first = assemble.open_backend(place, loaded)
    monkeypatch.setattr(assemble, "Building", lambda command: Building(desk.over_fakes(mode, command)))
    backend = assemble.renewed(place, loaded, first)
    assert backend is not None
    frame = np.zeros((models.SIZE, models.SIZE, 4), np.uint8)
    closed = trt.cuda.calls("cuDevicePrimaryCtxRelease")
    told: list[object] = []

    def serve() -> object:
        told.extend(backend.poll())
        assert backend.infer(frame)["polyp"].max() == -8
        return told[-1]

    wait_for(lambda: isinstance(serve(), Serving), "the change-over")
    assert trt.cuda.calls("cuDevicePrimaryCtxRelease") > closed  # the old one's
    serve()  # by the new one
    backend.close()
    assert [type(happening) for happening in told[:2]] == [Begun, Step]
    assert isinstance(told[-2], Done)
    assert "pmode:0002" in told[-2].engine


# ------------------------------------------------------------------------------------------------ audit


def saved(folder: Path, name: str, content: object) -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_saved_files_are_audited_without_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers, profile = saved(tmp_path, "layers.json", TEN), saved(tmp_path, "profile.json", PROFILE)
    slower = saved(tmp_path, "fp16.json", [{"name": row["name"], "averageMs": 0.1} for row in PROFILE[1:]])
    command = ["model", "audit", "--layers", layers, "--profile", profile]
    assert cli.main([*command, "--fp16-layers", layers, "--fp16-profile", slower, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["precisions"]["INT8"] == {"layers": 1, "ms": 0.4, "share": pytest.approx(0.4)}
    assert result["use"] == "fp16_trt"
    assert "INT8 is not faster than FP16" in result["why"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "INT8" in shown
    assert "not compared with FP16" in shown


def test_files_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["model", "audit", "--layers", str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read: No such file" in capsys.readouterr().err


def test_a_live_engine_is_audited_beside_the_reference(
    trt: Fake, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for precision in ("int8_trt", "fp16_trt"):
        assert cli.main(["model", "build", "-c", str(site), "--precision", precision]) == 0
    capsys.readouterr()
    assert cli.main(["model", "audit", "-c", str(site), "--json", "--save", str(tmp_path / "kept")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["precisions"] == {"INT8": {"layers": 3, "ms": pytest.approx(0.75), "share": 1.0}}
    assert result["agreement"] == [{"head": "polyp", "measure": "Dice of the masks", "value": 1.0}]
    assert result["use"] == "fp16_trt"  # equally fast over the fake
    assert assemble.load_model(assemble.load_site(site)).precision == "fp16_trt"  # and so it is, from now on
    kept = tmp_path / "kept"
    again = ["--layers", str(kept / "int8_trt.layers.json"), "--profile", str(kept / "int8_trt.profile.json")]
    assert cli.main(["model", "audit", *again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precisions"] == result["precisions"]


def test_without_an_fp16_engine_the_audit_says_what_is_missing(
    trt: Fake, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["model", "build", "-c", str(site)]) == 0
    assert cli.main(["model", "audit", "-c", str(site)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not compared with FP16: " in shown
    assert "no engine for fp16_trt" in shown
    assert "beside the float reference" in shown


class Answers:
    """A backend whose outputs are given, frame by frame."""

    def __init__(self, outputs: list[dict[str, np.ndarray]]) -> None:
        self._outputs = iter(outputs)

    def infer(self, image: object) -> dict[str, np.ndarray]:
        return next(self._outputs)


def test_agreement_is_measured_in_each_head_s_own_way() -> None:
    heads = [
        ModelHead(name="polyp", output="mask", kind="segment", labels=["polyp"]),
        ModelHead(name="view", output="view", kind="classify", labels=["a", "b"]),
        ModelHead(name="mayo", output="mayo", kind="ordinal", labels=["0", "1", "2"]),
        ModelHead(name="depth", output="depth", kind="dense", labels=["mm"]),
    ]

    def outputs(mask: list[float], view: list[float], mayo: list[float], depth: float) -> dict[str, np.ndarray]:
        array = {"view": [view], "mayo": [mayo], "mask": [[[mask]]], "depth": [[[[depth]]]]}
        return {name: np.array(value, np.float32) for name, value in array.items()}

    wanted = [outputs([9, 9, -9], [1, 0], [3, -1], 4), outputs([-9, -9, -9], [0, 1], [3, 1], 4)]
    found = [outputs([9, -9, -9], [1, 0], [1, -2], 5), outputs([-9, -9, -9], [1, 0], [3, -1], 4)]
    frames = np.zeros((2, 4, 4, 4), np.uint8)
    values = agreement.with_reference(heads, frames, Answers(found), Answers(wanted))  # type: ignore[arg-type]
    assert [(each.head, round(each.value, 4)) for each in values] == [
        ("polyp", 0.6667),  # of the one picture that has a mask: 2 * 1 / (1 + 2)
        ("view", 0.5),
        ("mayo", 0.5),
        ("depth", 0.5),
    ]
