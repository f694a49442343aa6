"""The software colon: the same script gives the same frames, and what it says of them is true."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys

import cv2
import msgspec
import numpy as np
import pytest

from edge.errors import ConfigError, EdgeError
from edge.phantom import (
    PolypTruth,
    Script,
    ensure_clip,
    frame,
    growth,
    read_truth,
    render,
    training_pictures,
    write_clip,
)
from edge.phantom import film as film_module
from edge.phantom.anatomy import Wall
from edge.phantom.effects import overlay
from edge.phantom.journey import REASONS, Journey, Passage
from edge.phantom.optics import SHAPES, Optics
from edge.phantom.script import runs_of
from edge.types import View

SMALL = Script(seed=5, fps=4, seconds=30.0, width=320, height=256)
TINY = Script(seed=5, fps=4, seconds=1.5, width=320, height=256)
needs_encoder = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed")


@pytest.fixture(scope="module")
def shown():
    """Every frame of SMALL with its truth."""
    return list(render(SMALL))


@pytest.fixture(scope="module")
def field():
    return Optics(SMALL.width, SMALL.height, SMALL.shape).full_mask()


# ------------------------------------------------------------------------------------------ same script, same frames


def test_another_film_of_the_same_script_has_the_same_frames_in_any_order(shown):
    other = film_module.Film(SMALL)
    for index in (70, 0, 119, 8, 31, 70):
        rgb, truth = other.frame(index)
        assert np.array_equal(rgb, shown[index][0]), index
        assert truth == shown[index][1]


def test_another_seed_has_other_frames(shown):
    rgb, _ = frame(msgspec.structs.replace(SMALL, seed=6), 40)
    assert np.abs(rgb.astype(int) - shown[40][0]).mean() > 5


def test_a_frame_outside_the_script_is_refused():
    with pytest.raises(IndexError, match="frame 120"):
        frame(SMALL, 120)


# --------------------------------------------------------------------------------------------------- the script


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"fps": 0}, "fps = 0"),
        ({"seconds": 0.0}, "seconds = 0.0"),
        ({"width": 8000}, "width = 8000"),
        ({"width": 300, "height": 256}, "width = 300"),
        ({"width": 512, "height": 512}, "512x512"),
        ({"width": 641}, "641x256"),
        ({"shape": "square"}, "octagon or round"),
    ],
)
def test_a_script_that_cannot_be_drawn_names_the_key(change, names):
    with pytest.raises(ConfigError, match=names):
        msgspec.structs.replace(SMALL, **change)


def test_the_demo_shows_several_polyps_for_seconds_with_clean_mucosa_between(shown):
    """Each polyp comes once, stays 2 to 6 s, and between two of them there are frames without any."""
    views = [truth for _, truth in shown]
    stays: dict[int, list[int]] = {}
    for truth in views:
        for polyp in truth.polyps:
            stays.setdefault(polyp.id, []).append(truth.frame)
    assert len(stays) >= 3
    for number, frames in stays.items():
        assert 2.0 <= len(frames) / SMALL.fps <= 6.0, number
        assert frames == list(range(frames[0], frames[-1] + 1)), f"polyp {number} left and came back"
    assert all(not any(t.frame == last + 1 and t.polyps for t in views) for last in (max(f) for f in stays.values()))


def test_the_clip_begins_black_shows_the_room_and_ends_in_the_room(shown):
    views = [view for view, _ in itertools.groupby(truth.view for _, truth in shown)]
    assert views[:3] == [View.BLACK, View.OUT_OF_BODY, View.GOOD]
    assert views[-1] is View.OUT_OF_BODY
    assert View.POOR in views


def test_only_a_poor_view_has_a_reason(shown):
    for _, truth in shown:
        assert (truth.reason in ("blur", "glare", "bubbles", "dark")) == (truth.view is View.POOR)


def test_without_passages_every_frame_is_good():
    script = msgspec.structs.replace(SMALL, passages=False)
    journey = Journey(script, Wall(1, growth.palette(np.random.default_rng(1))))
    assert {journey.at(t).view for t in np.arange(0, script.seconds, 0.25).tolist()} == {View.GOOD}


# ----------------------------------------------------------------------------------------------- the truth is true


def test_boxes_bound_their_masks_and_masks_lie_in_the_field(shown, field):
    seen = 0
    for _, truth in shown:
        for polyp in truth.polyps:
            mask = polyp.mask(SMALL.height, SMALL.width)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert polyp.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert polyp.area == mask.sum() > 0
            assert not (mask & ~field).any()
            assert 0 < polyp.visible <= 1
            seen += 1
    assert seen > 20


def test_a_polyp_keeps_its_id_and_its_paris_class(shown):
    kinds = {(p.id, p.paris) for _, truth in shown for p in truth.polyps}
    assert len(kinds) == len({number for number, _ in kinds})


def test_a_polyp_cut_by_the_edge_or_hidden_shows_less_of_itself(shown):
    shares = [p.visible for _, truth in shown for p in truth.polyps]
    assert min(shares) < 0.8
    assert max(shares) > 0.95


def test_a_polyp_looks_different_from_its_surroundings(shown):
    """The mask is where the polyp is drawn: along its outline the picture changes more than elsewhere."""
    ratios = []
    for rgb, truth in shown:
        edges = np.abs(cv2.Laplacian(cv2.GaussianBlur(rgb, (0, 0), 1.0), cv2.CV_32F)).mean(2)
        for polyp in truth.polyps:
            if polyp.paris in ("0-Is", "0-Ip") and polyp.area > 300 and truth.view is View.GOOD:
                mask = polyp.mask(SMALL.height, SMALL.width).astype(np.uint8)
                ring = cv2.dilate(mask, np.ones((3, 3))) - cv2.erode(mask, np.ones((3, 3)))
                around = cv2.dilate(mask, np.ones((25, 25))) - cv2.dilate(mask, np.ones((7, 7)))
                ratios.append(edges[ring > 0].mean() / edges[around > 0].mean())
    assert len(ratios) > 5
    assert np.median(ratios) > 1.3


def test_black_is_black_and_the_room_is_dim_and_not_red(shown, field):
    for rgb, truth in shown:
        inside = rgb[field].astype(float)
        if truth.view is View.BLACK:
            assert not inside.any()
        elif truth.view is View.OUT_OF_BODY:
            assert inside.mean() < 80
            assert inside[:, 0].mean() < inside[:, 2].mean()
        elif truth.view is View.GOOD:
            assert 60 < inside.mean() < 190
            assert inside[:, 0].mean() > 1.25 * inside[:, 2].mean()


@pytest.mark.parametrize("reason", REASONS)
def test_a_poor_view_shows_in_the_figure_a_quality_head_looks_at(shown, field, reason):
    film = film_module.Film(SMALL)
    film.journey.passages = (Passage(start=9.0, end=11.0, view=View.POOR, reason=reason),)
    rgb, truth = film.frame(40)
    assert (truth.view, truth.reason) == (View.POOR, reason)
    plain = shown[40][0]
    assert shown[40][1].view is View.GOOD
    light, usual = rgb[field].mean(), plain[field].mean()
    assert {
        "blur": _sharpness(rgb, field) < 0.5 * _sharpness(plain, field),
        "dark": light < 0.35 * usual,
        "glare": light > 1.4 * usual,
        "bubbles": np.abs(rgb.astype(float) - plain)[field].mean() > 15,
    }[reason]


def _sharpness(rgb, field):
    calm = cv2.GaussianBlur(rgb, (0, 0), 1.2)  # without the sensor's grain
    inner = cv2.erode(field.astype(np.uint8), np.ones((25, 25))) > 0
    return np.abs(cv2.Laplacian(calm, cv2.CV_32F)).mean(2)[inner].mean()


@pytest.mark.parametrize("flat", [[0], [1], [0, 0, 1], [1, 1, 0, 1], [1, 0, 0]])
def test_run_lengths_come_back_as_the_same_mask(flat):
    mask = np.array(flat, bool).reshape(1, -1)
    polyp = PolypTruth(id=1, paris="0-Is", box=(2, 1, 2 + mask.size, 2), visible=1.0, area=0, runs=runs_of(mask))
    whole = polyp.mask(3, 9)
    assert np.array_equal(whole[1:2, 2 : 2 + mask.size], mask)
    assert whole.sum() == mask.sum()


# ------------------------------------------------------------------------------------------------ the tower's screen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(320, 256), (640, 512), (1920, 1080)])
def test_the_text_is_outside_the_field_and_not_cut_by_it(shape, size, monkeypatch):
    optics = Optics(*size, shape)
    inside = optics.full_mask()
    screen = overlay(optics, 61.0)
    assert not screen[inside].any()
    assert screen[~inside].any()
    monkeypatch.setattr(optics, "full_mask", lambda: np.zeros(optics.size, bool))
    assert np.array_equal(overlay(optics, 61.0), screen), "the field cuts the text"


def test_outside_the_field_every_frame_shows_the_overlay_alone(shown, field):
    optics = Optics(SMALL.width, SMALL.height, SMALL.shape)
    for rgb, truth in shown[::7]:
        assert np.array_equal(rgb[~field], overlay(optics, truth.frame / SMALL.fps)[~field])


def test_the_truth_carries_the_outline_of_the_field(shown, field):
    filled = np.zeros((SMALL.height, SMALL.width), np.uint8)
    cv2.fillPoly(filled, [np.round(shown[0][1].field).astype(np.int32)], (1,))
    assert (filled.astype(bool) != field).mean() < 0.005


# -------------------------------------------------------------------------------------------------- clips on disk


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return ensure_clip(TINY, tmp_path_factory.mktemp("cache"))


@needs_encoder
def test_a_clip_has_exactly_its_frames_and_one_truth_for_each(clip):
    header, truths = read_truth(clip.truth)
    assert header.script == TINY
    assert len(truths) == TINY.frames == 6
    assert truths == [truth for _, truth in render(TINY)]
    video = cv2.VideoCapture(str(clip.video))
    decoded = []
    while (got := video.read())[0]:
        decoded.append(got[1][..., ::-1])
    assert len(decoded) == TINY.frames
    for rgb, (drawn, _) in zip(decoded, render(TINY), strict=True):
        assert np.abs(rgb.astype(int) - drawn).mean() < 4


@needs_encoder
def test_a_cached_clip_is_not_rendered_again(clip):
    before = clip.video.stat().st_mtime_ns, clip.truth.stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    assert ensure_clip(TINY, clip.video.parent, lambda *now: calls.append(now)) == clip
    assert (clip.video.stat().st_mtime_ns, clip.truth.stat().st_mtime_ns) == before
    assert not calls


@needs_encoder
def test_two_processes_that_race_for_a_clip_both_get_it_whole(tmp_path, clip):
    code = (
        "import sys, pathlib, msgspec; from edge.phantom import Script, ensure_clip, read_truth\n"
        "clip = ensure_clip(msgspec.json.decode(sys.argv[1], type=Script), pathlib.Path(sys.argv[2]))\n"
        "print(len(read_truth(clip.truth)[1]))"
    )
    command = [sys.executable, "-c", code, msgspec.json.encode(TINY).decode(), str(tmp_path)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [racer.communicate(timeout=90)[0].strip() for racer in racers] == ["6", "6"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".mkv", ".jsonl"}
    assert len(list(tmp_path.iterdir())) == 2, "a draft was left behind"
    other = next(tmp_path.glob("*.jsonl"))
    assert other.read_bytes() == clip.truth.read_bytes(), "another process draws another truth"


@needs_encoder
def test_a_render_that_is_stopped_leaves_nothing_behind(tmp_path):
    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clip(TINY, tmp_path / "a.mkv", tmp_path / "a.jsonl", stop)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EdgeError, match=r"missing/a\.mkv: cannot write"):
        write_clip(TINY, tmp_path / "missing" / "a.mkv", tmp_path / "missing" / "a.jsonl")


def test_a_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgeError, match=r"gst-launch-1\.0: not found"):
        write_clip(TINY, tmp_path / "a.mkv", tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_missing_element_is_named(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, code in (("gst-launch-1.0", "exit 0"), ("gst-inspect-1.0", 'test "$2" != x264enc')):
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(EdgeError, match="element x264enc: not found"):
        write_clip(TINY, tmp_path / "a.mkv", tmp_path / "a.jsonl")


def test_an_encoder_that_fails_says_why(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, code in (("gst-launch-1.0", "echo no space left >&2; exit 1"), ("gst-inspect-1.0", "exit 0")):
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(EdgeError, match="the encoder failed: no space left"):
        write_clip(TINY, tmp_path / "a.mkv", tmp_path / "a.jsonl")
    assert not list(tmp_path.glob("*a*.mkv"))


# -------------------------------------------------------------------------------------------------- broken truth


@needs_encoder
@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (1, "", r":1: not a phantom's header"),
        (1, '{"version": 1, "colour": "blue"}', r":1: not a phantom's header"),
        (3, '{"frame": 1', r":3: not a phantom's truth"),
        (3, '{"frame": 1, "media_ns": 0, "view": "lovely"}', r":3: not a phantom's truth .*lovely"),
        (4, '{"frame": 7, "media_ns": 0, "view": "good"}', r":4: frame 7, expected 2"),
        (7, None, r":6: ends after 5 frames, expected 6"),
    ],
)
def test_broken_truth_names_file_and_line(clip, tmp_path, line, text, says):
    lines = clip.truth.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"broken\.jsonl" + says):
        read_truth(broken)


@needs_encoder
def test_truth_of_another_version_is_refused(clip, tmp_path):
    first, *rest = clip.truth.read_text().splitlines()
    old = tmp_path / "old.jsonl"
    old.write_text("\n".join([json.dumps({**json.loads(first), "version": 0}), *rest]))
    with pytest.raises(ConfigError, match=r"old\.jsonl:1: truth of phantom version 0"):
        read_truth(old)


def test_empty_and_absent_truth_are_named(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match=r"empty\.jsonl:1: empty"):
        read_truth(tmp_path / "empty.jsonl")
    with pytest.raises(ConfigError, match=r"absent\.jsonl: cannot read"):
        read_truth(tmp_path / "absent.jsonl")


# ---------------------------------------------------------------------------------------------- training pictures


def test_training_pictures_are_repeatable_and_mostly_have_polyps():
    first = list(training_pictures(3, 16, 320, 256))
    again = list(training_pictures(3, 4, 320, 256))
    for (rgb, mask, _), (rgb2, mask2, _) in zip(first[:4], again, strict=True):
        assert np.array_equal(rgb, rgb2)
        assert np.array_equal(mask, mask2)
    assert 6 <= sum(mask.any() for _, mask, _ in first) <= 15
    for rgb, mask, field in first:
        assert rgb.shape == (256, 320, 3)
        assert not (mask & ~field).any()
        assert not rgb[~field].any()
        assert rgb[field].mean() > 30
