"""Boards on recorded trees: what is read, and that nothing that a file says can break the reader."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import board
from edge.board import pc
from edge.board.watch import Watch
from edge.types import BoardReading, Zone
from tests.support import board_trees
from tests.support.board_trees import put

OFF = Zone(temperature_c=None, limit_c=99.0)


@pytest.fixture(params=board_trees.BOARDS)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with board_trees.grown(request.param, tmp_path) as root:
        yield root


@pytest.fixture
def nano(tmp_path: Path) -> Iterator[Path]:
    with board_trees.grown("orin_nano_jp6", tmp_path) as root:
        yield root


def test_an_orin_nano_at_rest(nano: Path) -> None:
    said = board.open(nano).read()
    assert (said.kind, said.model, said.release, said.power_mode) == (
        "jetson",
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "36.4.3",
        "MAXN_SUPER",
    )
    assert said.zones["cpu-thermal"] == Zone(temperature_c=48.531, limit_c=99.0)
    assert said.zones["cv0-thermal"] == said.zones["cv2-thermal"] == OFF
    assert said.zones["tj-thermal"].limit_c == 104.5  # its active trip points are the fan's
    assert said.nearest() == ("gpu-thermal", pytest.approx(49.75))
    assert said.power_w == {"VDD_IN": 5.721, "VDD_CPU_GPU_CV": 1.217, "VDD_SOC": 1.539}
    assert (said.gpu_load, said.clocks_mhz) == (0.187, {"cpu0": 1190.4, "cpu4": 729.6, "gpu": 306.0})
    assert (said.fan, said.fan_rpm) == (0.38, 1764)
    assert (said.throttled, said.problems) == ((), ())
    assert said.throttle_events == {"under-voltage": 0, "over-current": 0, "current-peak": 14}


def test_an_orin_nx_that_is_hot_on_jetpack_7(tmp_path: Path) -> None:
    with board_trees.grown("orin_nx_jp7", tmp_path) as root:
        said = board.open(root).read()
    assert (said.release, said.power_mode, said.gpu_load) == ("39.2.0", "25W", 0.998)
    assert said.nearest() == ("gpu-thermal", pytest.approx(-0.125))
    assert said.throttled == ("gpu",)
    assert (said.fan, said.fan_rpm, said.problems) == (1.0, None, ())


@pytest.mark.parametrize(("tree", "release"), [("agx_orin_jp6", "36.4.0"), ("agx_orin_jp7", "39.2.1")])
def test_an_agx_orin_has_rails_on_two_chips(tree: str, release: str, tmp_path: Path) -> None:
    with board_trees.grown(tree, tmp_path) as root:
        said = board.open(root).read()
    assert (said.release, said.power_mode, said.gpu_load) == (release, "MODE_50W", 0.0)
    assert list(said.power_w) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
    assert list(said.clocks_mhz) == ["cpu0", "cpu4", "cpu8", "gpu"]


def test_over_current_is_throttling_while_it_goes_on_and_peaks_are_not(nano: Path) -> None:
    jetson, counters = board.open(nano), "sys/class/hwmon/hwmon3/oc{}_event_cnt"
    assert jetson.read().throttled == ()
    put(nano, counters.format(2), "3")
    put(nano, counters.format(3), "900")
    assert jetson.read().throttled == ("over-current",)
    assert jetson.read().throttled == ()
    put(nano, counters.format(1), "1")
    assert jetson.read().throttled == ("under-voltage",)


def test_a_pc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**12, 1_000_000_000))
    with board_trees.grown("pc_intel", tmp_path) as root:
        monkeypatch.setattr(pc.time, "monotonic_ns", lambda: next(now))
        here = board.open(root)
        said = here.read()
        assert (said.kind, said.model, said.power_mode) == ("pc", "OptiPlex 7010", "balanced")
        assert said.zones == {"Package id 0": Zone(temperature_c=44.0, limit_c=80.0)}
        assert (said.power_w, said.fan_rpm, said.problems) == ({"package-0": None}, 1050, ())
        put(root, "sys/class/powercap/intel-rapl:0/energy_uj", "31000000")
        put(root, "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "13")
        said = here.read()
        assert said.power_w == {"package-0": 15.0}  # 30 J in the two seconds that four looks at the clock make
        assert said.throttled == ("cpu",)
        put(root, "sys/class/powercap/intel-rapl:0/energy_uj", "5")
        assert here.read().power_w == {"package-0": None}  # the counter wrapped


def test_a_processor_without_limits_has_the_usual_one(tmp_path: Path) -> None:
    with board_trees.grown("pc_amd", tmp_path) as root:
        assert board.open(root).read().zones == {"Tctl": Zone(temperature_c=61.25, limit_c=95.0)}


def test_a_machine_that_says_nothing_is_a_pc_without_problems(tmp_path: Path) -> None:
    said = board.open(tmp_path).read()
    assert said == BoardReading(kind="pc", read_ns=said.read_ns)
    assert said.nearest() is None


TEMP = "sys/class/thermal/thermal_zone0/temp"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ("hot", "'hot' is no number"),
        ("4 8", "'4 8' is no number"),
        ("\N{ARABIC-INDIC DIGIT FOUR}2000", "'\N{ARABIC-INDIC DIGIT FOUR}2000' is no number"),
        ("-99000", "-99 cannot be"),
        ("480000", "480 cannot be"),
        ("9" * 40, f"'{'9' * 20}' is no number"),
    ],
)
def test_what_cannot_be_believed_is_none_and_named(content: str, why: str, nano: Path) -> None:
    put(nano, TEMP, content)
    said = board.open(nano).read()
    assert said.zones["cpu-thermal"] == OFF
    assert said.problems == (f"{TEMP}: {why}",)


def test_a_file_that_went_between_listing_and_reading(nano: Path) -> None:
    (nano / TEMP).unlink()
    (nano / TEMP).symlink_to("nowhere")
    said = board.open(nano).read()
    assert said.zones["cpu-thermal"] == OFF
    assert said.problems == (f"{TEMP}: is gone",)


def test_a_folder_in_place_of_a_file(nano: Path) -> None:
    (nano / TEMP).unlink()
    (nano / TEMP).mkdir()
    assert board.open(nano).read().problems == (f"{TEMP}: is a directory",)


def test_old_firmware_says_off_in_its_own_way(nano: Path) -> None:
    put(nano, TEMP, "-256000")
    said = board.open(nano).read()
    assert (said.zones["cpu-thermal"], said.problems) == (OFF, ())


def test_two_zones_of_a_name_are_two(nano: Path) -> None:
    put(nano, "sys/class/thermal/thermal_zone1/type", "cpu-thermal")
    zones = board.open(nano).read().zones
    assert {"cpu-thermal", "cpu-thermal.2"} <= zones.keys()


def test_a_mode_that_the_table_does_not_name(nano: Path) -> None:
    put(nano, "var/lib/nvpmodel/status", "pmode:0017")
    assert board.open(nano).read().power_mode == "mode 17"
    put(nano, "var/lib/nvpmodel/status", "?")
    assert board.open(nano).read().power_mode is None


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), content=st.binary(max_size=40), gone=st.booleans())
def test_no_content_of_any_file_breaks_the_reader(anywhere: Path, place: int, content: bytes, gone: bool) -> None:
    """One file at a time says anything, or is not there."""
    every = files(anywhere)
    path = every[place % len(every)]
    before = path.read_bytes()
    if gone:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        here = board.open(anywhere)
        for said in (here.read(), here.read()):
            assert all(zone.temperature_c is None or -40 <= zone.temperature_c <= 150 for zone in said.zones.values())
            assert all(zone.limit_c is None or 60 <= zone.limit_c <= 130 for zone in said.zones.values())
            assert said.gpu_load is None or 0 <= said.gpu_load <= 1
    finally:
        path.write_bytes(before)


class Slow:
    """A board whose second reading hangs until it is let go."""

    kind = "slow"

    def __init__(self) -> None:
        self.readings = 0
        self.hangs, self.go = threading.Event(), threading.Event()

    def read(self) -> BoardReading:
        self.readings += 1
        if self.readings == 2:
            self.hangs.set()
            assert self.go.wait(30)
        return BoardReading(kind=self.kind, read_ns=time.monotonic_ns())


def test_the_watch_keeps_the_newest_and_forgets_a_stale_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    watch = Watch(slow, every_s=0.001)
    assert slow.hangs.wait(30)
    assert watch.latest is not None
    monkeypatch.setattr("edge.board.watch.STALE_NS", 0)
    assert watch.latest is None
    slow.go.set()
    watch.close()
    watch._thread.join(30)
    assert not any(thread.name == "board" for thread in threading.enumerate())


def test_files_are_closed(nano: Path) -> None:
    here = board.open(nano)
    here.read()
    before = len(list(Path("/proc/self/fd").iterdir()))
    here.read()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
