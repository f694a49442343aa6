"""Writing: weights as halves, TOML, and a folder that is replaced whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration import folders, halves, toml
from edge.config import read_toml
from edge.errors import ModelError

# ---------------------------------------------------------------------------------------------- halves


def net(weight: Any) -> onnx.ModelProto:
    """Conv 3x3 (8 to 8 channels), bias, ReLU: `x` (1, 8, 12, 12) to `y`."""
    initialisers = [
        numpy_helper.from_array(np.asarray(weight, np.float32).reshape(8, 8, 3, 3), "w"),
        numpy_helper.from_array(np.linspace(-0.1, 0.1, 8, dtype=np.float32), "b"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3]), helper.make_node("Relu", ["c"], ["y"])],
        "net",
        [value("x", TensorProto.FLOAT, [1, 8, 12, 12])],
        [value("y", TensorProto.FLOAT, [1, 8, 10, 10])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def random_net() -> onnx.ModelProto:
    return net(np.random.default_rng(3).normal(0, 0.2, 576))


def run(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(5).normal(size=(1, 8, 12, 12)).astype(np.float32)})[0]


def test_a_halved_file_computes_the_same_to_the_bit(random_net: onnx.ModelProto) -> None:
    reference = halves.rounded(random_net)
    small = halves.halved(reference)
    onnx.checker.check_model(small, full_check=True)
    np.testing.assert_array_equal(run(small), run(reference))
    assert len(small.SerializeToString()) < 0.65 * len(reference.SerializeToString())


def test_whole_gives_back_what_was_halved(random_net: onnx.ModelProto) -> None:
    reference = halves.rounded(random_net)
    assert halves.whole(halves.halved(reference)) == reference
    assert halves.whole(reference) == reference


def test_rounding_moves_a_weight_by_half_a_float16_step(random_net: onnx.ModelProto) -> None:
    before, after = (numpy_helper.to_array(m.graph.initializer[0]) for m in (random_net, halves.rounded(random_net)))
    assert 0 < np.abs(after - before).max() <= np.abs(before).max() * 2**-11
    assert halves.rounded(random_net).graph.initializer[1] == random_net.graph.initializer[1]  # a small one stays


def test_what_float16_cannot_hold_stays_float32(random_net: onnx.ModelProto) -> None:
    assert halves.halved(random_net) == random_net


@pytest.mark.parametrize("worst", [7e4, np.inf, np.nan])
def test_a_weight_beyond_float16_is_named(worst: float) -> None:
    with pytest.raises(ModelError, match=r"weight w: .* does not fit float16"):
        halves.rounded(net([worst] + [0.5] * 575))


# ------------------------------------------------------------------------------------------------ TOML


def test_toml_is_read_back_as_it_was(tmp_path: Path) -> None:
    table = {
        "text": 'a "quoted" path\\with\nlines, ü',
        "numbers": [1, 2.5, -1e-7],
        "empty": [],
        "flag": True,
        "table": {"inner": {"deep": {"x": 1}}, "a key with spaces": 2},
        "rows": [{"a": 1, "of": {"b": [0.5, 1.5]}}, {"a": 2}],
        "nothing": {},
    }
    (tmp_path / "t.toml").write_text(toml.dumps({**table, "left_out": None}), encoding="utf-8")
    assert read_toml(tmp_path / "t.toml") == table


# --------------------------------------------------------------------------------------------- folders


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not request.param:
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    made = tmp_path / "model"
    made.mkdir()
    (made / "old").write_text("old")
    return made


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_new_folder_takes_the_old_one_s_place(folder: Path) -> None:
    with folders.replaced(folder) as new:
        (new / "new").write_text("new")
        assert contents(folder) == {"old": "old"}
    assert contents(folder) == {"new": "new"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_leaves_the_old_folder(folder: Path) -> None:
    def fail() -> None:
        with folders.replaced(folder) as new:
            (new / "new").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(folder) == {"old": "old"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_kill_between_two_renames_is_mended(folder: Path) -> None:
    folder.rename(folder.with_name(".model.old"))
    with folders.replaced(folder) as new:
        assert contents(folder) == {"old": "old"}
        (new / "new").write_text("new")
    assert contents(folder) == {"new": "new"}


def test_a_killed_writer_leaves_the_old_folder(folder: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from calibration import folders\n"
        "with folders.replaced(Path(sys.argv[1])) as new:\n"
        "    (new / 'new').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], timeout=60, check=False)
    assert done.returncode == -9
    assert contents(folder) == {"old": "old"}
    with folders.replaced(folder) as new:
        assert contents(new) == {}  # nothing of the killed one's is taken over
