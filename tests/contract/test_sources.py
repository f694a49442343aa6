"""What every source promises, on files that GStreamer encodes on the spot."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.capture import file, phantom
from edge.errors import CaptureError
from edge.phantom import read_truth
from edge.types import Frame, Gap, SignalState
from tests.support import clips

SIZE = (64, 64)


def play(source: file.FileSource) -> tuple[list[Frame], list[np.ndarray], list[Gap]]:
    """Everything until the end; pictures are copied out, since frames are only lent."""
    frames: list[Frame] = []
    pictures: list[np.ndarray] = []
    gaps: list[Gap] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        item = source.next(1.0)
        if isinstance(item, Gap):
            gaps.append(item)
            if item.state in (SignalState.ENDED, SignalState.FAILED):
                break
            continue
        pictures.append(np.array(item.image))
        frames.append(item)
        item.release()
    source.close()
    return frames, pictures, gaps


def opened(path: Path, **options: object) -> file.FileSource:
    return file.open(file.Config(path=str(path), **{"rate": "max", **options}), SIZE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.encode(clips.with_field(40, polyp_from=20, polyp_to=30), tmp_path_factory.mktemp("clip") / "clip.mkv")


def test_every_frame_once_in_order(clip: Path) -> None:
    source = opened(clip)
    frames, pictures, gaps = play(source)
    assert [frame.seq for frame in frames] == list(range(1, 41))
    assert [round(frame.media_ns / 40e6) for frame in frames] == list(range(40))
    assert [gap.state for gap in gaps] == [SignalState.ENDED]
    assert all(picture.shape == (64, 64, 4) for picture in pictures)
    assert source.stats().dropped == 0
    assert source.stats().host_copies == 0
    assert source.next(0.1).state is SignalState.ENDED  # type: ignore[union-attr]


def test_field_is_found_and_the_overlay_is_black(clip: Path) -> None:
    source = opened(clip)
    frames, pictures, _ = play(source)
    field = frames[0].field
    assert abs(field.x - 38) <= 3
    assert abs(field.width - 144) <= 5
    brightest = np.max(pictures, axis=0)[:, :, :3].max(axis=2)
    assert (brightest[:6, :6] == 0).all()  # a corner of the rectangle, outside the circle
    assert (brightest[28:36, 28:36] > 60).all()
    green = [picture[28, 34, 1] > 180 and picture[28, 34, 0] < 90 for picture in pictures]
    assert green == [20 <= number < 30 for number in range(40)]


def test_a_lease_ends_with_the_next_frame(clip: Path) -> None:
    """A loop that forgets to release leaks nothing: the source takes the buffer back itself."""
    source = opened(clip)
    first = source.next(5.0)
    second = source.next(5.0)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    first.release()
    assert np.array(second.image).any()  # releasing an old lease does not take the new one
    source.close()
    source.close()


def test_real_rate_is_real_and_stamped_with_the_due_time(tmp_path: Path) -> None:
    clip = clips.encode(clips.plain(25), tmp_path / "c.mkv")
    source = opened(clip, rate="real")
    lateness_ms, begun = [], time.monotonic()
    while not isinstance(item := source.next(1.0), Gap):
        lateness_ms.append((time.monotonic_ns() - item.captured_ns) / 1e6)
        item.release()
    assert time.monotonic() - begun > 0.8
    assert min(lateness_ms) >= -2
    assert np.median(lateness_ms) < 100
    source.close()


def test_a_slow_loop_drops_the_oldest_and_counts(tmp_path: Path) -> None:
    clip = clips.encode(clips.plain(50), tmp_path / "c.mkv", fps=50)
    source = opened(clip, rate="real")
    seen = []
    while not isinstance(item := source.next(1.0), Gap):
        seen.append(round(item.media_ns / 20e6))
        item.release()
        time.sleep(0.1)  # the slow loop itself
    stats = source.stats()
    assert stats.dropped > 20
    assert stats.frames + stats.dropped == 50
    assert seen == sorted(set(seen))


def test_loop_goes_on_with_rising_time(clip: Path) -> None:
    source = opened(clip, loop=True)
    times, captured = [], []
    while len(times) < 130:
        item = source.next(5.0)
        if isinstance(item, Frame):
            times.append(item.media_ns)
            captured.append(item.captured_ns)
            item.release()
        else:
            assert item.state is SignalState.STARTING
    source.close()
    assert times == sorted(set(times))
    assert captured == sorted(captured)
    assert source.stats().dropped == 0


def test_fixed_field(clip: Path) -> None:
    corners = [(50.0, 10.0), (150.0, 10.0), (150.0, 150.0), (50.0, 150.0)]
    frames, _, _ = play(opened(clip, field=corners))
    assert (frames[0].field.x, frames[0].field.width, frames[0].field.height) == (50, 100, 140)
    with pytest.raises(CaptureError, match=r"capture\.field: expected at least 3 corners within 200x160"):
        opened(clip, field=[(0.0, 0.0), (900.0, 0.0), (0.0, 5.0)])


def test_the_phantom_is_a_source_like_any_other(tmp_path: Path) -> None:
    config = phantom.Config(seconds=1.2, fps=10, width=320, height=256, rate="max", cache_dir=str(tmp_path))
    source = phantom.open(config, SIZE)
    frames, pictures, gaps = play(source)
    assert len(frames) == 12
    assert gaps[-1].state is SignalState.ENDED
    truth = read_truth(phantom.prepare(config).truth)[0].field
    x0, y0 = np.min(truth, axis=0)
    x1, y1 = np.max(truth, axis=0)
    found = frames[-1].field
    got = (found.x, found.y, found.x + found.width, found.y + found.height)
    assert np.abs(np.subtract(got, (x0, y0, x1, y1))).max() <= 6
    assert np.max(pictures) > 60


@pytest.mark.parametrize(
    ("width", "height", "raw"),
    [
        (161, 127, "video/x-raw,format=Y444"),
        (160, 128, "video/x-raw,format=GRAY8"),
        (160, 128, "video/x-raw,format=Y444_10LE"),
    ],
    ids=["odd", "grey", "ten-bit"],
)
def test_odd_grey_and_ten_bit(tmp_path: Path, width: int, height: int, raw: str) -> None:
    encoder = "avenc_ffv1" if "GRAY8" not in raw else "videoconvert ! jpegenc quality=95"
    clip = clips.encode(clips.plain(5, width, height), tmp_path / "c.mkv", encoder=encoder, raw=raw)
    frames, pictures, gaps = play(opened(clip))
    assert len(frames) == 5
    assert gaps[-1].state is SignalState.ENDED
    centre = pictures[0][32, 32, :3].astype(int)
    expected = np.full(3, 0.299 * 190 + 0.587 * 110 + 0.114 * 85) if "GRAY8" in raw else np.array(clips.MUCOSA)
    assert np.abs(centre - expected).max() <= 12


def test_eight_k(tmp_path: Path) -> None:
    clip = clips.encode(clips.plain(1, 7680, 4320), tmp_path / "c.mkv", encoder="jpegenc")
    frames, _, gaps = play(opened(clip))
    assert len(frames) == 1
    assert gaps[-1].state is SignalState.ENDED


def test_one_pixel(tmp_path: Path) -> None:
    clip = clips.encode(clips.plain(3, 1, 1), tmp_path / "c.mkv", encoder="avenc_ffv1")
    with pytest.raises(CaptureError, match="the picture is 1x1, at least 32x32 is needed"):
        opened(clip)


def two_formats(path: Path, muxer: str) -> Path:
    """50 frames of 160x128, then 50 of 320x192, in one stream."""
    encoder = "x264enc key-int-max=10 speed-preset=ultrafast bframes=0 ! video/x-h264,profile=constrained-baseline"
    halves = [
        f"videotestsrc num-buffers=50 ! video/x-raw,format=I420,width={w},height={h},framerate=25/1 ! {encoder} ! join."
        for w, h in ((160, 128), (320, 192))
    ]
    clips.launch(
        f"concat name=join ! h264parse config-interval=-1 ! {muxer} ! filesink location={path} {' '.join(halves)}"
    )
    return path


def test_format_change_in_mid_file_is_a_state(tmp_path: Path) -> None:
    """GStreamer gets a new pipeline, the loop gets FORMAT_CHANGED and goes on with the new field."""
    source = opened(two_formats(tmp_path / "two.mp4", "video/x-h264,stream-format=avc3 ! mp4mux"))
    frames, _, gaps = play(source)
    assert [gap.state for gap in gaps] == [SignalState.FORMAT_CHANGED, SignalState.ENDED]
    assert "320x192" in gaps[0].detail
    assert source.stats().rebuilds == 1
    assert {(frame.field.width, frame.field.height) for frame in frames} == {(160, 128), (320, 192)}
    times = [frame.media_ns for frame in frames]
    assert times == sorted(set(times))
    assert len(frames) > 80  # the seek goes to a key frame


def test_format_change_that_cannot_be_passed_is_said(tmp_path: Path) -> None:
    source = opened(two_formats(tmp_path / "two.ts", "mpegtsmux"))
    frames, _, gaps = play(source)
    assert len(frames) == 50
    assert [gap.state for gap in gaps] == [SignalState.FAILED]
    assert "the recording: the format (160x128" in gaps[0].detail
    assert "the rest is not analysed" in gaps[0].detail


def test_cut_off_file_says_where(tmp_path: Path) -> None:
    mp4 = clips.encode(clips.with_field(100), tmp_path / "c.mp4", muxer="mp4mux faststart=true")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    frames, _, gaps = play(opened(cut))
    assert 10 < len(frames) < 100
    assert gaps[-1].state is SignalState.FAILED
    assert gaps[-1].detail.startswith("the recording: ")  # its name stays here: what a gap says leaves the box
    assert cut.name not in gaps[-1].detail
    assert "cut off" in gaps[-1].detail or "broken after" in gaps[-1].detail


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty, a video was expected"),
        (b"device = 1\n" * 50, "not a video that GStreamer can decode"),
        (bytes(range(256)) * 64, "not a video that GStreamer can decode"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 200, "not a video that GStreamer can decode"),
    ],
    ids=["empty", "text", "noise", "header-only"],
)
def test_not_a_video(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    begun = time.monotonic()
    with pytest.raises(CaptureError, match=message) as caught:
        opened(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 30  # decodebin may swallow an element's error: then the deadline speaks


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"none\.mkv: cannot be read: No such file"):
        opened(tmp_path / "none.mkv")
    with pytest.raises(CaptureError, match="cannot be read: Is a directory"):
        opened(tmp_path)


def test_close_is_bounded_when_a_state_change_hangs(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.capture import gst

    monkeypatch.setattr(gst, "CLOSE_WITHIN_S", 0.2)
    source = opened(clip)
    assert source._pipeline is not None
    real = source._pipeline._pipeline
    release = __import__("threading").Event()

    class Hanging:
        def iterate_recurse(self) -> list[object]:
            return []

        def set_state(self, state: object) -> None:
            release.wait(10)
            real.set_state(state)

    source._pipeline._pipeline = Hanging()
    begun = time.monotonic()
    source.close()
    assert time.monotonic() - begun < 2
    release.set()


def test_the_same_script_is_the_same_clip_to_the_bit(tmp_path: Path) -> None:
    """Frames were always drawn alike, but an encoder with several threads does not repeat itself."""
    config = phantom.Config(seconds=2, fps=10, width=320, height=256, rate="max")
    decoded = []
    for name in ("a", "b"):
        made = msgspec.structs.replace(config, cache_dir=str(tmp_path / name))
        decoded.append(play(phantom.open(made, SIZE))[1])
    assert np.array_equal(decoded[0], decoded[1])
