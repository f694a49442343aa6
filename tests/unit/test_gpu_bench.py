"""The GPU benchmark's parts that need no GPU: aims, floor, packing list, processes, and what it says when it cannot."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

onnx = pytest.importorskip("onnx")

from edge.errors import InferenceError, UsageError  # noqa: E402
from tests.support import models  # noqa: E402
from tests.support.fake_cuda import FakeCuda  # noqa: E402
from tests.support.fake_tensorrt import Fake  # noqa: E402
from tools.gpu_bench import Options, floor, open_backend, pack, processes, released, report  # noqa: E402
from tools.gpu_bench import __main__ as command  # noqa: E402
from tools.gpu_bench.children import path  # noqa: E402
from tools.gpu_bench.processes import ChildError, Runner  # noqa: E402
from tools.gpu_bench.report import Report, Row  # noqa: E402
from tools.on_device import site  # noqa: E402

ROOT = Path(__file__).parents[2]
GPU = {"compute_capability": [9, 0], "multiprocessors": 100, "clock_hz": 10**9, "copy_bytes_s": 1e12, "name": "a GPU"}
STREAM = {
    "p50_ms": 0.5,
    "p99_ms": 0.9,
    "max_ms": 1.0,
    "n": 600,
    "dropped": 0,
    "upload": 600,
    "fed_fps": 60.0,
} | dict.fromkeys(report.AFTER_UPLOAD, 0)


def built(**changes: Any) -> Report:
    """A report on which every aim is met."""
    whole = Report(
        at="",
        commit="",
        software={},
        driver="",
        engine="",
        no_graph="",
        model={},
        gpu=GPU,
        interface={"a reader": {"same": 60, "n": 60}},
        bare={"p50_ms": 0.8, "p99_ms": 0.9, "n": 2000},
        differences=[],
        floor=floor.Floor(gflop=1, least_bytes=1, unfused_bytes=1, memory_ms=0.1, compute_ms=None),
        streams=[Row(streams=1, each=[STREAM])],
    )
    return msgspec.structs.replace(whole, **changes)


def missed(whole: Report) -> list[str]:
    return [aim.what for aim in report.aims(whole) if not aim.met]


def test_every_aim_can_be_met() -> None:
    assert missed(built()) == []


@pytest.mark.parametrize(
    ("changes", "what", "must"),
    [
        ({"interface": {"good": {"same": 60, "n": 60}, "bad": {"same": 59, "torn": 1, "n": 60}}}, "frames read", True),
        ({"interface": {"bad": {"rounded": 60, "n": 60}}}, "frames read", True),
        ({"differences": ["buffer 3, round 5: polyp"]}, "answers", True),
        ({"streams": [Row(streams=1, each=[STREAM | {"device": 1}])]}, "whole pictures copied", True),
        ({"streams": [Row(streams=1, each=[STREAM]), Row(streams=2, error="crashed")]}, "whole pictures copied", True),
        ({"streams": [Row(streams=1, each=[STREAM | {"p99_ms": 1.01}])], "bare": {"p50_ms": 1.0}}, "frame → f", False),
        ({"bare": {"p50_ms": 0.7}}, "that p99 over", False),
    ],
)
def test_each_aim_can_be_missed_alone(changes: dict[str, Any], what: str, must: bool) -> None:
    (aim,) = (aim for aim in report.aims(built(**changes)) if not aim.met)
    assert aim.what.startswith(what)
    assert aim.must is must


def test_without_a_single_stream_its_aims_are_not_measured() -> None:
    two = built(streams=[Row(streams=2, each=[STREAM, STREAM])])
    assert [aim.figure for aim in report.aims(two)][-2:] == [None, None]
    assert len(missed(two)) == 2


def test_the_table_shows_aims_stages_and_why_a_run_failed() -> None:
    alone = STREAM | {"stages_ms": {"capture": [0.1, 0.2], "infer": [0.3, 0.6], "heads": [0.05, 0.1]}}
    rows = [Row(streams=1, each=[alone | {"host": 2}]), Row(streams=16, error="path: ended with code -9")]
    gpu = GPU | {"multiprocessors": 132}
    console = Console(record=True, width=140, file=io.StringIO())
    report.show(console, built(streams=rows, gpu=gpu, no_graph="refused"))
    said = console.export_text()
    for words in ("without CUDA graphs (refused)", "60.0", "infer", "0.600", "not met", "unknown", "1000 GB/s copied"):
        assert words in said
    assert "16 streams: path: ended with code -9" in said


def test_several_streams_show_their_slowest_and_count_together() -> None:
    row = Row(streams=2, each=[STREAM, STREAM | {"p99_ms": 2.5, "d2h": 3, "host": 1}])
    assert (row.worst("p99_ms"), row.total("n"), row.total(*report.AFTER_UPLOAD)) == (2.5, 1200, 4)


def convolution() -> bytes:
    """3 → 8 channels, 3x3, 16x16 px: 16 * 16 * 8 * 27 multiply-accumulates."""
    made = onnx.helper
    weight = made.make_tensor("w", onnx.TensorProto.FLOAT, (8, 3, 3, 3), [0.0] * 216)
    ends = [made.make_tensor_value_info(*end) for end in (("x", 1, (1, 3, 16, 16)), ("y", 1, (1, 8, 16, 16)))]
    nodes = [made.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), made.make_node("Relu", ["c"], ["y"])]
    graph = made.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    return bytes(made.make_model(graph, opset_imports=[made.make_opsetid("", 18)]).SerializeToString())


def test_the_floor_is_bytes_over_bandwidth_and_work_over_rate() -> None:
    found = floor.of(convolution(), GPU)
    weights, picture, maps = 216 * 4, 3 * 256 * 4, 8 * 256 * 4
    assert found.least_bytes == weights + picture + maps
    assert found.unfused_bytes == weights + picture + 3 * maps  # written by Conv, read and written by Relu
    assert found.gflop == pytest.approx(2 * 16 * 16 * 8 * 27 / 1e9)
    assert found.memory_ms == pytest.approx(found.least_bytes / 1e12 * 1e3)
    assert found.compute_ms == pytest.approx(found.gflop * 1e9 / (2048 * 100 * 1e9) * 1e3)
    assert found.ms == max(found.memory_ms, found.compute_ms)


@pytest.mark.parametrize("silent", [{"compute_capability": [10, 3]}, {"clock_hz": 0}, {"multiprocessors": 0}])
def test_a_rate_that_nobody_says_is_no_bound(silent: dict[str, Any]) -> None:
    found = floor.of(convolution(), GPU | silent)
    assert found.compute_ms is None
    assert found.ms == found.memory_ms


def test_counters_are_those_of_the_measured_time_alone() -> None:
    before = dict.fromkeys(("frames", "dropped", "upload", *report.AFTER_UPLOAD), 5)
    found = path.measured([1.0, 2.0, 3.0], before, before | {"frames": 8, "dropped": 7, "host": 6}, 2.0)
    assert (found["frames"], found["host"], found["h2d"], found["n"], found["fed_fps"]) == (3, 1, 0, 3, 2.5)
    assert (found["p50_ms"], found["max_ms"]) == (2.0, 3.0)


@pytest.mark.parametrize("cuda", sorted(pack.WHEELS))
def test_a_pack_carries_one_onnx_runtime(cuda: str) -> None:
    """Two packages of the same module overwrite each other's files."""
    needs = pack.requirements(cuda)
    assert [need for need in needs if need.startswith("onnxruntime")] == [pack.WHEELS[cuda][0]]
    assert [need for need in needs if need.startswith("cuda-bindings")] == [
        f"cuda-bindings>={'12.8,<13' if cuda == '12' else '13.0,<14'}"
    ]
    assert any(need.startswith("msgspec") for need in needs)


@pytest.mark.parametrize("where", ["in the checkout", "among other things"])
def test_a_pack_goes_into_a_folder_of_its_own(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pack, "_check_machine", lambda: None)
    (tmp_path / "letter.txt").touch()
    assert pack.main(["--into", str(ROOT / "new" if where == "in the checkout" else tmp_path)]) == 2
    said = capsys.readouterr().err
    assert ("outside it" if where == "in the checkout" else "holds something else") in said
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_packs_are_made_on_the_system_that_they_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "DISTRIBUTION", "trixie")
    with pytest.raises(UsageError, match=r"made on Debian 12, x86-64, by its own Python 3\.11; this is "):
        pack._check_machine()


def test_tensorrt_takes_its_place_where_an_engine_was_built(
    trt: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.infer import tensorrt

    monkeypatch.setattr(site, "ENGINES", tmp_path / "engines")
    folder = models.build(tmp_path / "model", precisions=models.WITH_TENSORRT)
    options = Options(clip="", engine="tensorrt", model=str(folder))
    loaded = released(options)
    assert loaded.precision == "int8_trt"
    with pytest.raises(InferenceError, match="endoedge model build"):
        open_backend(options, loaded)
    config = tensorrt.Config(cache_dir=str(site.ENGINES))
    with closing(tensorrt.open_device(config)) as device:
        built = tensorrt.build(config, loaded, b"", lambda _: True)
        key, golden = tensorrt.key(device, loaded), loaded.manifest.golden.sha256
        tensorrt.store(config).put(key, built.plan, build_s=built.seconds, golden_sha256=golden)
    with closing(open_backend(options, loaded)) as backend:
        assert backend.name == "tensorrt"


def runner() -> Runner:
    return Runner("tests.support.bench_children")


def test_streams_begin_together() -> None:
    """Nobody is told to before all are ready."""
    said = runner().streams(3, Options(clip="", seconds=1.5))
    assert [one["seconds"] for one in said] == [1.5] * 3
    assert max(one["ready"] for one in said) <= min(one["began"] for one in said)


@pytest.mark.parametrize(
    ("name", "fate"),
    [
        ("crash", "crash: ended with code -11: it said nothing"),
        ("refuse", "refuse: ended with code 1: gpu_bench: out of memory"),
        ("silent", "silent: ended with code 0: it said nothing"),
        ("hang", "hang: was stopped, it took too long: it said nothing"),
    ],
)
def test_whatever_becomes_of_a_child_is_one_line(name: str, fate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BARE_WITHIN_S", 0.5 if name == "hang" else 60.0)
    with pytest.raises(ChildError) as caught:
        runner().one(name, Options(clip=""))
    assert str(caught.value) == fate


def test_a_machine_without_a_gpu_says_so(tmp_path: Path) -> None:
    loads = [sys.executable, "-c", "import ctypes; ctypes.CDLL('libcuda.so.1')"]  # elsewhere: a fake may be loaded here
    if subprocess.run(loads, capture_output=True, check=False).returncode == 0:
        pytest.skip("a libcuda.so.1 is here")
    model = models.build(tmp_path / "model")
    line = [sys.executable, "-m", "tools.gpu_bench", "--clip", __file__, "--model", str(model)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("gpu_bench: no NVIDIA GPU: ")
    assert done.stderr.count("\n") == 1


def test_a_pack_for_another_driver_is_refused(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake driver is of CUDA 12.6."""
    monkeypatch.setattr(command, "carried_cuda", lambda: 13)
    with pytest.raises(UsageError, match=r"of CUDA 12, the pack of CUDA 13: .* pack --cuda 12"):
        command.check_machine()


@pytest.mark.parametrize(("lacking", "hint"), [("cudaupload", "libnvcuvid"), ("cudaconvertscale", "GST_CUDA_NVRTC")])
def test_a_missing_element_comes_with_a_hint(
    lacking: str, hint: str, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "carried_cuda", lambda: 12)
    monkeypatch.setattr(command.profiles, "missing", lambda profile: [lacking])
    with pytest.raises(UsageError, match=f"x86-cuda lacks {lacking}: .*{hint}"):
        command.check_machine()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "gpu_bench.sh pack [--into FOLDER]"),
        (["run", "--from", "{empty}"], "{empty} holds no finished pack: tools/gpu_bench.sh pack makes one"),
        (["run", "--from"], "gpu_bench.sh pack [--into FOLDER]"),
    ],
)
def test_the_script_says_what_is_missing(arguments: list[str], said: str, tmp_path: Path) -> None:
    filled = [argument.format(empty=tmp_path) for argument in arguments]
    done = subprocess.run(
        [str(ROOT / "tools" / "gpu_bench.sh"), *filled],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert said.format(empty=tmp_path) in done.stderr
