"""The branch that makes key pictures: real encoders, real masks, and a film that plays."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.capture import file, gst, images
from edge.capture.stills import Stills
from edge.errors import CaptureError
from edge.types import Frame, Gap, SignalState
from tests.support import clips

SIZE = (64, 64)


def watch(source: file.FileSource, seconds: float = 60) -> list[Frame | Gap]:
    """Everything that came until the end; frames are given back at once."""
    seen: list[Frame | Gap] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        item = source.next(1.0)
        seen.append(item)
        if isinstance(item, Gap) and item.final:
            return seen
        if isinstance(item, Frame):
            item.release()
    raise AssertionError(f"no end after {len(seen)} moments")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stills, list[Frame | Gap]]:
    """A clip with a round field and "a name" beside it, played in real time."""
    clip = clips.encode(clips.with_field(75, polyp_from=40, polyp_to=60), tmp_path_factory.mktemp("clip") / "clip.mkv")
    source = file.open(file.Config(path=str(clip), rate="real"), SIZE)
    ring = source.keep_stills(12.5, 60)
    seen = watch(source)
    source.close()
    assert source.stats().frames + source.stats().dropped == 75
    return ring, seen


def test_stills_are_the_field_and_nothing_else(kept: tuple[Stills, list[Frame | Gap]]) -> None:
    ring, _ = kept
    stills = list(ring)
    assert stills
    for still in stills:
        picture = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (still.height, still.width, 3)
        assert abs(still.width - 144) <= 6  # the field, not the picture
        corner = picture[: still.height // 12, : still.width // 12]
        assert corner.max() <= 6  # outside the circle
        assert abs(int(picture[still.height // 2, still.width // 4, 2]) - clips.MUCOSA[0]) < 30


def test_a_still_shows_its_own_moment(kept: tuple[Stills, list[Frame | Gap]]) -> None:
    """The green spot is there from 1.6 s to 2.4 s of the clip."""
    ring, _ = kept
    for still in ring:
        picture = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
        green = bool(((picture[:, :, 1] > 170) & (picture[:, :, 2] < 110)).sum() > 20)
        assert green == (1.6e9 - 2e6 < still.media_ns < 2.4e9 - 2e6)


def test_stills_and_frames_have_the_same_clocks(kept: tuple[Stills, list[Frame | Gap]]) -> None:
    ring, seen = kept
    apart = {item.captured_ns - item.media_ns for item in seen if isinstance(item, Frame)}
    assert max(apart) - min(apart) < 1_000_000
    assert all(abs(still.captured_ns - still.media_ns - min(apart)) < 2_000_000 for still in ring)


def test_a_film_plays_in_its_own_time(kept: tuple[Stills, list[Frame | Gap]], tmp_path: Path) -> None:
    ring, _ = kept
    stills = ring.between(0, 10**12)
    gst.write_film(stills, tmp_path / "film.mkv")
    source = file.open(file.Config(path=str(tmp_path / "film.mkv"), rate="max", field="whole"), SIZE)
    frames = [item for item in watch(source) if isinstance(item, Frame)]
    source.close()
    assert len(frames) == len(stills)
    due = [still.media_ns - stills[0].media_ns for still in stills]
    assert np.abs(np.subtract([frame.media_ns - frames[0].media_ns for frame in frames], due)).max() < 2_000_000


def test_a_film_that_cannot_be_written_is_an_error(kept: tuple[Stills, list[Frame | Gap]], tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"film\.mkv: "):
        gst.write_film(list(kept[0]), tmp_path / "none" / "film.mkv")


# ----------------------------------------------------------------------------------------------- images


def test_a_round_begins_anew_for_the_branch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its valve closes when the end of a round has just gone through; what lies behind must not stay at that end."""
    whole, taken = Stills.take, itertools.count(1)

    def late(self: Stills, *args: Any) -> None:
        last = next(taken) % 10 == 0
        time.sleep(0.06 * last)  # the end of the stream overtakes
        whole(self, *args, wanted=not last)

    monkeypatch.setattr(Stills, "take", late)
    clip = clips.encode(clips.plain(10), tmp_path / "clip.mkv")
    source = file.open(file.Config(path=str(clip), rate="max", loop=True, field="whole"), SIZE)
    ring = source.keep_stills(1e9, 60)
    frames = [0]
    while len(frames) <= 5:
        item = source.next(1.0)
        if isinstance(item, Frame):
            frames[-1] += 1
            time.sleep(0.01)  # so that the branch keeps up
            item.release()
        else:
            assert not item.final, item.detail
            frames.append(0)
    source.close()
    assert frames == [10, 10, 10, 10, 10, 0]
    assert {still.media_ns // 400_000_000 for still in ring} == {0, 1, 2, 3, 4}


def folder(path: Path, count: int, suffix: str = ".png") -> Path:
    path.mkdir()
    for number, picture in enumerate(clips.with_field(count)):
        picture[:8, 150:] = number * 4  # which one
        cv2.imwrite(str(path / f"frame-{number}{suffix}"), picture[:, :, ::-1])
    return path


def test_a_folder_plays_in_the_order_of_its_names(tmp_path: Path) -> None:
    path = folder(tmp_path / "pictures", 12)
    source = images.open(images.Config(path=str(path), rate="max", fps=10, field="whole"), SIZE)
    shades, times = [], []
    while not isinstance(item := source.next(5.0), Gap):
        shades.append(int(np.asarray(item.image)[1, 60, 0]))
        times.append(item.media_ns)
        item.release()
    source.close()
    assert item.state is SignalState.ENDED
    assert len(shades) == 12
    assert shades == sorted(shades)
    assert times == [number * 100_000_000 for number in range(12)]
    assert not Path(source._links.name).exists()


def test_a_folder_can_be_played_for_ever(tmp_path: Path) -> None:
    path = folder(tmp_path / "pictures", 3, ".jpg")
    source = images.open(images.Config(path=str(path), rate="max", loop=True, field="whole"), SIZE)
    times = []
    while len(times) < 20:
        item = source.next(5.0)
        assert isinstance(item, Frame), item
        times.append(item.media_ns)
        item.release()
    source.close()
    assert times == sorted(set(times))


def test_folders_that_cannot_be_played(tmp_path: Path) -> None:
    mixed = folder(tmp_path / "mixed", 2)
    (mixed / "one.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (mixed, r"mixed: pictures of one kind were expected .*, found: 2 image/png, 1 image/jpeg"),
        (tmp_path / "empty", r"empty: pictures of one kind were expected .*, found: none"),
        (tmp_path / "none", "none: cannot be read as a folder: No such file"),
    ):
        with pytest.raises(CaptureError, match=message):
            images.open(images.Config(path=str(path)), SIZE)


def test_pictures_of_other_sizes_are_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "pictures", 6)
    cv2.imwrite(str(path / "frame-9.png"), np.full((50, 70, 3), 90, np.uint8))
    source = images.open(images.Config(path=str(path), rate="max", field="whole"), SIZE)
    last = watch(source)[-1]
    source.close()
    assert isinstance(last, Gap)
    assert last.state is SignalState.FAILED
    assert "the rest is not analysed" in last.detail
