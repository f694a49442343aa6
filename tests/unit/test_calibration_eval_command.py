"""`endoedge-model eval` as a person runs it: a little real model, drawn pictures and clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration.cli import main
from calibration.eval import video
from calibration.eval.evaluation import shipped
from calibration.eval.runner import opened
from calibration.eval.subjects import Case, Subject
from calibration.pictures import Sample
from edge.cli import main as edge_main
from edge.heads import Heads, segment
from edge.types import TensorSpec
from tests.support import clips, models

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Marks what is green. All encodings are the same file."""
    folder = models.build(tmp_path / "green")
    for file in ("int8_trt.onnx", "fp16_trt.onnx"):
        shutil.copyfile(folder / "int8.onnx", folder / file)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A plain folder, val: three pictures with a green disc, one of them missed for it is not green."""
    folder = tmp_path / "polyps"
    for kind in ("images", "masks"):
        (folder / "val" / kind).mkdir(parents=True)
    for number, tone in enumerate((clips.GREEN, clips.GREEN, (220, 120, 90))):
        mask = np.zeros((80, 100), np.uint8)
        cv2.circle(mask, (30 + 20 * number, 40), 14, 255, -1)
        picture = np.random.default_rng(number).integers(60, 90, (80, 100, 3), np.uint8)
        picture[mask > 0] = tone[::-1]  # OpenCV writes BGR
        cv2.imwrite(str(folder / "val" / "images" / f"{number}.png"), picture)
        cv2.imwrite(str(folder / "val" / "masks" / f"{number}.png"), mask)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*words: object) -> tuple[int, list[dict[str, Any]], str]:
        code = main(["eval", *map(str, words)])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()] if "--json" in words else [], err

    return go


def test_the_json_has_the_promised_shape(model: Path, data: Path, run: Run) -> None:
    code, (result,), err = run(model, "--dataset", "folder", data, "--json")
    assert (code, err) == (0, "")
    assert (result["dataset"], result["n"]) == ("folder", 3)
    assert list(result["encodings"]) == ["fp32", "int8_cpu", "int8_trt", "fp16_trt"]
    assert result["command"] == f"endoedge-model eval {model} --dataset folder {data}"
    assert len(result["files"]["int8_trt"]) == 64
    for name, figures in result["encodings"].items():
        for key in ("dice", "iou", "picture_sensitivity", "lesion_sensitivity", "ap50", "ece_pixel", "ece_mark"):
            low, high = figures[f"{key}_ci95"]
            assert 0 <= low <= figures[key] <= high <= 1, key
        assert "ONNX Runtime" in figures["runtime"]
        assert ("TensorRT" in figures["runtime"]) == name.endswith("_trt")
        assert figures["picture_sensitivity"] == pytest.approx(2 / 3, abs=1e-5)
        assert figures["picture_specificity"] is None
        assert 0.55 < figures["dice"] < 2 / 3
    assert "dice_minus_fp32" not in result["encodings"]["fp32"]
    assert result["encodings"]["int8_cpu"]["dice_minus_fp32"] == 0


def test_what_a_model_lacks_is_said_and_left_out(model: Path, data: Path, run: Run) -> None:
    (model / "int8_trt.onnx").unlink()
    code, (result,), err = run(model, "--dataset", "folder", data, "--json")
    assert code == 0
    assert "has no int8_trt.onnx (int8_trt): left out" in err
    assert list(result["encodings"]) == ["fp32", "int8_cpu", "fp16_trt"]


def test_people_get_tables_and_a_page(
    model: Path, data: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, "--dataset", "folder", data, "--robustness", "--page", tmp_path / "page"]
    assert main(["eval", *map(str, words)]) == 0
    shown = capsys.readouterr()
    assert "mean Dice" in shown.out
    assert "Dice when pictures are worse" in shown.out
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert f"page: {tmp_path / 'page' / 'index.html'}" in shown.err
    assert page.count("<svg") == 3
    assert "data:image/jpeg;base64," in page
    assert "http" not in page  # it needs nothing else


def with_landmark(folder: Path, labels: str) -> None:
    """Adds an output that always says the first label, and its row in model.toml."""
    for file in folder.glob("*.onnx"):
        graph = onnx.load(str(file))
        graph.graph.initializer.append(numpy_helper.from_array(np.array([[1.0, -1.0]], np.float32), "said"))
        graph.graph.node.append(helper.make_node("Identity", ["said"], ["landmark"]))
        graph.graph.output.append(helper.make_tensor_value_info("landmark", TensorProto.FLOAT, [1, 2]))
        onnx.save(graph, str(file))
    toml = folder / "model.toml"
    row = f'[[heads]]\nname = "landmark"\noutput = "landmark"\nkind = "classify"\nlabels = [{labels}]\n'
    toml.write_text(toml.read_text() + row)


def landmarks(folder: Path) -> Path:
    for name, count in (("normal-cecum", 1), ("bbps-2-3", 2)):
        (folder / "val" / name).mkdir(parents=True)
        for number in range(count):
            picture = np.random.default_rng(number + count).integers(0, 255, (40, 40, 3), np.uint8)
            cv2.imwrite(str(folder / "val" / name / f"{number}.png"), picture)
    return folder


def test_heads_that_name_something_are_judged(model: Path, run: Run, tmp_path: Path) -> None:
    with_landmark(model, '"other", "caecum"')
    code, (result,), err = run(model, "--dataset", "folder", landmarks(tmp_path / "lower_gi"), "--json")
    assert code == 0
    assert "labels for preparation, the model has no such head: left out" in err
    of_head = result["encodings"]["int8_cpu"]["heads"]["landmark"]
    assert of_head["confusion"] == [[of_head["n"] - 1, 0], [1, 0]]
    assert of_head["balanced_accuracy"] == 0.5


# ------------------------------------------------------------------------------------------------ video


def test_a_negative_video_agrees_with_replay(
    model: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A green spot in a clip said to have no polyp: a false alert, by the box's own code both times."""
    clip = clips.encode(clips.with_field(110, polyp_from=60, polyp_to=100), tmp_path / "clip.mkv")
    pipelines = tmp_path / "share" / "pipelines"
    shutil.copytree(Path("pipelines"), pipelines)
    for file in pipelines.glob("*.toml"):
        file.write_text(models.followed(file.read_text()))
    shutil.copytree(model, tmp_path / "share" / "models" / models.NAME)
    monkeypatch.setattr("edge.paths.data_dir", lambda name: tmp_path / "share" / name)
    assert edge_main(["replay", str(clip), "--pictures", str(tmp_path), "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out.splitlines()[-1])
    code, (result,), _ = run(model, "--negative-video", "clip", clip, "--json")
    assert code == 0
    assert (result["dataset"], result["n"]) == ("clip", replayed["frames"])
    for figures in result["encodings"].values():
        assert figures["false_alerts"] == figures["alerts"] == replayed["alerts"] == 1
        shipped = figures["operating_point"]
        at_it = [r for r in figures["curve"] if all(r[key] == shipped[key] for key in ("start_score", "confirm"))]
        assert [row["false_alerts"] for row in at_it] == [1]


def test_frames_that_people_boxed_are_judged_as_a_video(tmp_path: Path) -> None:
    """50 frames, 30 a second; a lesion from frame 20 on, marked as it appears."""
    spec = TensorSpec(name="polyp", dtype="float32", shape=(1, 1, 32, 32))
    heads = Heads([segment.open(segment.Config(), (spec,))])
    pictures = clips.with_field(110, polyp_from=80)

    def case(number: int) -> Case:
        boxes = ((96.0, 52.0, 144.0, 92.0),) if number >= 80 else ()
        mask = np.zeros((160, 200), np.uint8)
        return Case(f"{number}", "video", lambda: Sample("", pictures[number], mask), False, boxes, frame=number)

    subject = Subject("boxed", tuple(case(number) for number in reversed(range(110))))
    (frames,) = subject.clips.values()
    runners = opened(models.build(tmp_path / "green"))
    seen = video.watched_frames(frames, runners, heads, lambda _done, _all: None)
    _, rules = shipped("colonoscopy")
    report = video.report("int8_cpu", [seen["int8_cpu"]], rules)
    assert (report["lesions"], report["missed"], report["false_alerts"]) == (1, 0, 0)
    assert report["first_detection_delay_ms"] == 0
    assert report["alert_delay_ms"] == pytest.approx((rules.tracks.confirm - 1) / 30 * 1000, abs=1)


# -------------------------------------------------------------------------------------------- bad input


def no_model(model: Path, data: Path) -> list[object]:
    return [data, "--dataset", "folder", data]


def nothing_asked(model: Path, data: Path) -> list[object]:
    return [model]


def unknown_layout(model: Path, data: Path) -> list[object]:
    return [model, "--dataset", "kvasir", data]


def empty_split(model: Path, data: Path) -> list[object]:
    return [model, "--dataset", "folder", data, "--split", "test"]


def no_pictures(model: Path, data: Path) -> list[object]:
    for picture in data.rglob("*.png"):
        picture.unlink()
    return [model, "--dataset", "folder", data]


def mask_of_another_size(model: Path, data: Path) -> list[object]:
    cv2.imwrite(str(data / "val" / "masks" / "1.png"), np.zeros((80, 101), np.uint8))
    return [model, "--dataset", "folder", data]


def no_head(model: Path, data: Path) -> list[object]:
    site = data.parent / "upper_gi" / "val" / "antrum"
    site.mkdir(parents=True)
    cv2.imwrite(str(site / "a.png"), np.zeros((40, 40, 3), np.uint8))
    return [model, "--dataset", "folder", site.parents[1]]


def label_of_no_head(model: Path, data: Path) -> list[object]:
    with_landmark(model, '"other", "ileum"')
    return [model, "--dataset", "folder", landmarks(data.parent / "lower_gi")]


def bad_phantom(model: Path, data: Path) -> list[object]:
    return [model, "--phantom", "five"]


def no_truth(model: Path, data: Path) -> list[object]:
    return [model, "--video", "clip", data / "clip.mkv"]


def no_video(model: Path, data: Path) -> list[object]:
    return [model, "--negative-video", "clip", data / "clip.mkv", "--pipeline", "gastroscopy"]


def no_pipeline(model: Path, data: Path) -> list[object]:
    return [model, "--dataset", "folder", data, "--pipeline", "capsule"]


def broken_file(model: Path, data: Path) -> list[object]:
    (model / "int8.onnx").write_bytes(b"not ONNX")
    return [model, "--dataset", "folder", data]


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [
        (no_model, 1, "no model here: it has none of fp32.onnx, int8.onnx, int8_trt.onnx"),
        (nothing_asked, 2, "nothing to judge by"),
        (unknown_layout, 2, "--dataset kvasir: no such layout; there are: cvc_clinicdb"),
        (empty_split, 1, "has no pictures of split test"),
        (no_pictures, 1, "empty"),
        (mask_of_another_size, 1, "mask is 101×80, its picture 1.png is 100×80"),
        (no_head, 1, "folder is for heads the model does not have: site"),
        (label_of_no_head, 1, "label landmark = 'caecum'; the model's are: other, ileum"),
        (bad_phantom, 1, "five: expected SEED:COUNT"),
        (no_truth, 2, "--video needs the clip's truth beside it, or use --negative-video"),
        (no_video, 1, "clip.mkv: cannot be read"),
        (no_pipeline, 2, "--pipeline capsule: no such pipeline"),
        (broken_file, 1, "int8.onnx: cannot be run"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_said_in_one_line(
    harm: Callable[[Path, Path], list[object]], code: int, said: str, model: Path, data: Path, run: Run
) -> None:
    got, _, err = run(*harm(model, data))
    assert said in err
    assert got == code
    assert err.count("\n") == 1
