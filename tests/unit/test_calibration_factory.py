"""The model factory in miniature: a tiny net and drawn pictures through export and evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import ranges  # noqa: E402
from calibration.eval.overlap import mean_overlap, overlap  # noqa: E402
from calibration.eval.runner import Runner  # noqa: E402
from calibration.export import exported  # noqa: E402
from calibration.student import Student, folded, normalised  # noqa: E402
from tests.support.tiny import SIDE, drawn, tiny  # noqa: E402


def used() -> Student:
    """The tiny net with biases and batch statistics that are not a fresh net's zeros and ones."""
    student, rng = tiny(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*student.named_parameters(), *student.named_buffers()]:
            if "bias" in name or ("norm" in name and value.is_floating_point()):
                value.add_(torch.rand(value.shape, generator=rng) * 0.3)
    return student


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return exported(used(), SIDE)


@pytest.fixture(scope="module")
def frames() -> list[ranges.Frame]:
    return [np.dstack([s.picture, np.full((SIDE, SIDE), 255, np.uint8)])[None] for s in drawn(6, 3)]


def run(graph: onnx.ModelProto, frame: ranges.Frame, **options: object) -> dict[str, np.ndarray]:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    for key, value in options.items():
        setattr(settings, key, value)
    session = ort.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": frame}), strict=True))


# ----------------------------------------------------------------------------------------------- export


def test_export_is_the_net(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    student = used()
    with torch.no_grad():
        picture = torch.from_numpy(frames[0][..., :3]).permute(0, 3, 1, 2)
        wanted = student.eval()(normalised(picture))
        torch.testing.assert_close(folded(student)(normalised(picture)), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(fp32, frames[0])["polyp"], wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_alpha_is_ignored(fp32: onnx.ModelProto, frames: list[ranges.Frame]) -> None:
    clear = frames[0].copy()
    clear[..., 3] = 0
    for name, value in run(fp32, frames[0]).items():
        np.testing.assert_array_equal(value, run(fp32, clear)[name])


# ------------------------------------------------------------------------------------------ evaluate


def test_overlap_by_hand() -> None:
    found, truth = np.zeros((2, 4, 4), bool)
    found[0, :4], truth[:2, 0] = True, True
    assert overlap(found, truth).dice == pytest.approx(2 * 1 / 6)
    assert overlap(found, truth).iou == pytest.approx(1 / 5)
    assert overlap(truth & False, truth & False).dice == 1.0


def test_the_runner_scores_what_a_perfect_answer_would(fp32: onnx.ModelProto) -> None:
    runner = Runner(fp32.SerializeToString(), threads=1)
    answered = [replace(s, mask=np.where(runner.logits(s.picture) > 0, 255, 0)) for s in drawn(2)]
    assert mean_overlap(runner, answered).dice == 1.0
