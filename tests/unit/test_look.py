"""What a picture is taken for: placeholders, repeats, and everything that must not be taken for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture import gst
from edge.capture.evidence import Look
from edge.capture.look import BLACK_MOST, FLAT_MOST, Looker
from edge.capture.profiles import LOOK_SIZE
from edge.phantom import Script, render

SIZE = 256
VIDEOS = Path(__file__).parents[3] / "shared" / "data" / "video"
VIVID_BARS = (
    (255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0),
)  # fmt: skip


def rgba(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return rgba(np.full((SIZE, SIZE, 3), colour, np.uint8))


def bars() -> np.ndarray:
    return rgba(np.repeat(np.array(VIVID_BARS, np.uint8), SIZE // 8, axis=0)[None].repeat(SIZE, axis=0))


def mask(shape: str) -> np.ndarray:
    """1 inside the endoscope's field, as it is cut out: it touches all four edges."""
    inside = np.zeros((SIZE, SIZE, 1), np.uint8)
    if shape == "round":
        cv2.circle(inside, (SIZE // 2, SIZE // 2), SIZE // 2, 1, -1)
    elif shape == "octagon":
        cut = SIZE // 5
        a, b = 0, SIZE - 1
        corners = [(cut, a), (b - cut, a), (b, cut), (b, b - cut), (b - cut, b), (cut, b), (a, b - cut), (a, cut)]
        cv2.fillPoly(inside, [np.array(corners)], 1)
    else:
        inside[:] = 1
    return inside


def with_counter(picture: np.ndarray, number: int) -> np.ndarray:
    """As vivid writes it, at the top."""
    written = picture.copy()
    cv2.putText(written, f"00:00:{number:02} {number}", (60, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 4, 1)
    return written


def mucosa(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 220, (9, 9, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).astype(int)
    return rgba(np.clip(smooth + rng.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8))


def look(*pictures: np.ndarray) -> list[Look]:
    looker = Looker(SIZE, SIZE)
    return [looker.look(picture) for picture in pictures]


@pytest.fixture(scope="module")
def patterns() -> dict[str, np.ndarray]:
    """Test pictures of GStreamer's own, scaled as a source would."""
    made = {}
    for name in ("smpte", "smpte75", "smpte100", "black", "white", "red", "snow", "checkers-8", "gradient", "pinwheel",
                 "circular"):  # fmt: skip
        pipeline = gst.Pipeline(
            f"videotestsrc pattern={name} num-buffers=1 ! video/x-raw,format=UYVY,width=1280,height=720"
            f" ! videoscale name=tap ! videoconvert ! video/x-raw,format=RGBA,width={SIZE},height={SIZE}"
            " ! appsink name=sink sync=false",
            name,
        )
        pipeline.play()
        picture = pipeline.pull(30)
        assert picture is not None
        made[name] = np.array(picture.image)
        picture.release()
        pipeline.close()
    return made


@pytest.mark.parametrize("shape", ["whole", "round", "octagon"])
@pytest.mark.parametrize("name", ["smpte", "smpte75", "smpte100", "vivid"])
def test_bars_under_any_mask_and_with_a_counter(patterns: dict[str, np.ndarray], name: str, shape: str) -> None:
    picture = bars() if name == "vivid" else patterns[name]
    seen = look(*(with_counter(picture, number) * mask(shape) for number in range(4)))
    assert set(seen) == {Look.BARS}


def test_noise_of_a_cable_leaves_bars_bars() -> None:
    rng = np.random.default_rng(0)
    noisy = [np.clip(bars().astype(int) + rng.integers(-3, 4, (SIZE, SIZE, 4)), 0, 255).astype(np.uint8)] * 2
    assert look(*noisy) == [Look.BARS] * 2


@pytest.mark.parametrize("shape", ["whole", "round", "octagon"])
@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), Look.BLACK),
        ((16, 16, 16), Look.BLACK),
        ((BLACK_MOST,) * 3, Look.BLACK),
        ((BLACK_MOST + 1,) * 3, Look.FLAT),
        ((0, 0, 255), Look.FLAT),
        ((255, 255, 255), Look.FLAT),
    ],
)
def test_one_colour(colour: tuple[int, int, int], expected: Look, shape: str) -> None:
    assert look(plain(colour) * mask(shape), plain(colour) * mask(shape)) == [expected] * 2


def test_a_sign_that_wanders_over_one_colour_is_still_one_colour() -> None:
    signs = [plain((0, 0, 180)) for _ in range(4)]
    for number, sign in enumerate(signs):
        cv2.putText(sign, "NO SIGNAL", (10 + 20 * number, 24 + 6 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 4)
    assert look(*signs) == [Look.FLAT] * 4


def test_one_colour_with_the_noise_of_a_transmitter() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, FLAT_MOST + 1, (SIZE, SIZE, 4), dtype=np.uint8)
    assert look(plain((40, 40, 160)) + noise) == [Look.FLAT]
    assert look(plain((0, 0, 0)) + noise) == [Look.BLACK]


def test_what_moves_moves_and_what_repeats_repeats() -> None:
    a, b = mucosa(1), mucosa(2)
    assert look(a, b, b.copy(), a, a, b) == [
        Look.MOVING, Look.MOVING, Look.REPEATED, Look.MOVING, Look.REPEATED, Look.MOVING,
    ]  # fmt: skip


def test_other_test_pictures_are_pictures(patterns: dict[str, np.ndarray]) -> None:
    """Nobody's placeholder looks like these, and a rule that took them for one would be too wide."""
    expected = {"black": Look.BLACK, "white": Look.FLAT, "red": Look.FLAT}
    for name in ("black", "white", "red", "snow", "checkers-8", "gradient", "pinwheel", "circular"):
        assert look(patterns[name]) == [expected.get(name, Look.MOVING)], name


def test_a_dark_lumen_and_a_washed_out_wall_are_pictures() -> None:
    rng = np.random.default_rng(3)
    dark = rng.integers(0, 12, (SIZE, SIZE, 3)).astype(np.uint8)
    cv2.circle(dark, (60, 190), 24, (70, 40, 30), -1)
    assert look(rgba(dark)) == [Look.MOVING]
    clean = np.zeros((SIZE, SIZE, 3), np.uint8)  # to the bit, as no camera has it
    cv2.circle(clean, (60, 230), 50, (70, 40, 30), -1)
    for shape in ("whole", "round", "octagon"):
        assert look(rgba(clean) * mask(shape)) == [Look.MOVING]
    bright = np.full((SIZE, SIZE, 3), 255, np.uint8)
    bright[:, : SIZE // 4] = mucosa(4)[:, : SIZE // 4, :3]
    assert look(rgba(bright)) == [Look.MOVING]


def test_a_folded_wall_is_no_stripes() -> None:
    x = np.linspace(0, 6 * np.pi, SIZE)
    folds = np.outer(np.ones(SIZE), 120 + 80 * np.sin(x)) + np.linspace(-40, 40, SIZE)[:, None]
    assert look(rgba(np.dstack([folds, folds * 0.6, folds * 0.5]).clip(0, 255).astype(np.uint8))) == [Look.MOVING]


@settings(max_examples=100, deadline=None)
@given(
    changes=st.dictionaries(st.integers(0, SIZE * SIZE * 4 - 1), st.integers(1, 255), min_size=1, max_size=3),
)
def test_any_byte_that_changed_is_another_picture(changes: dict[int, int]) -> None:
    changed = mucosa(5)
    flat = changed.reshape(-1)
    for at, by in changes.items():
        flat[at] ^= by
    assert look(mucosa(5), changed, changed) == [Look.MOVING, Look.MOVING, Look.REPEATED]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, SIZE * SIZE - 1), st.integers(0, SIZE * SIZE - 1))
def test_two_pixels_that_change_places_are_another_picture(one: int, other: int) -> None:
    swapped = mucosa(5)
    pixels = swapped.reshape(-1, 4)
    pixels[[one, other]] = pixels[[other, one]]
    differs = not np.array_equal(swapped, mucosa(5))
    assert look(mucosa(5), swapped)[1] is (Look.MOVING if differs else Look.REPEATED)


def test_padded_rows_are_read_too() -> None:
    wide = np.zeros((SIZE, SIZE + 16, 4), np.uint8)
    wide[:, :SIZE] = mucosa(6)
    assert look(mucosa(6), wide[:, :SIZE]) == [Look.MOVING, Look.REPEATED]


# -------------------------------------------------------------------- tiny pictures, where frames stay on a GPU


def small(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """As a graphics card (linear) or a Jetson's video hardware (nearest) makes one of a frame."""
    return np.ascontiguousarray(cv2.resize(picture, LOOK_SIZE, interpolation=interpolation))


@pytest.mark.parametrize("interpolation", [cv2.INTER_NEAREST, cv2.INTER_LINEAR], ids=["nearest", "linear"])
@pytest.mark.parametrize("shape", ["whole", "round", "octagon"])
def test_tiny_pictures_are_taken_for_what_they_are(
    patterns: dict[str, np.ndarray], shape: str, interpolation: int
) -> None:
    one = {"smpte": Look.BARS, "smpte75": Look.BARS, "smpte100": Look.BARS, "white": Look.FLAT, "red": Look.FLAT}
    cases = [(patterns[name], expected) for name, expected in one.items()]
    cases += [(patterns[name], Look.MOVING) for name in ("snow", "gradient", "pinwheel", "circular")]
    cases += [(bars(), Look.BARS), (plain((0, 0, 180)), Look.FLAT), (plain((BLACK_MOST,) * 3), Look.BLACK)]
    cases += [(mucosa(seed), Look.MOVING) for seed in range(5)]
    for number, (picture, expected) in enumerate(cases):
        looker = Looker(*LOOK_SIZE, step=1)
        tiny = small(picture * mask(shape), interpolation)
        assert looker.look(tiny) is expected, f"case {number}"
        assert looker.look(tiny) is (Look.REPEATED if expected is Look.MOVING else expected)


def test_the_noise_of_a_camera_is_seen_in_a_tiny_picture_of_a_scene_that_stands_still() -> None:
    rng, looker = np.random.default_rng(8), Looker(*LOOK_SIZE, step=1)
    for _ in range(100):
        noisy = np.clip(mucosa(1).astype(int) + rng.integers(-1, 2, (SIZE, SIZE, 4)), 0, 255).astype(np.uint8)
        assert looker.look(small(noisy, cv2.INTER_LINEAR)) is Look.MOVING


# ---------------------------------------------------------------------------------- nothing real is a placeholder


@pytest.mark.parametrize(("shape", "fps"), [("octagon", 2), ("round", 1)])
def test_nothing_of_the_phantom_is_a_placeholder(shape: str, fps: int) -> None:
    """Its truth says which pictures are black; all others are moving ones."""
    script = Script(seed=3, fps=fps, seconds=24, width=640, height=512, shape=shape)  # type: ignore[arg-type]
    looker, wrong = Looker(SIZE, SIZE), Counter[str]()
    for rgb, truth in render(script):
        (x0, y0), (x1, y1) = np.min(truth.field, axis=0).astype(int), np.max(truth.field, axis=0).astype(int)
        inside = np.zeros(rgb.shape[:2], np.uint8)
        cv2.fillConvexPoly(inside, np.array(truth.field).astype(np.int32), 1)
        cut = (rgb * inside[:, :, None])[y0:y1, x0:x1]
        seen = looker.look(rgba(cv2.resize(cut, (SIZE, SIZE), interpolation=cv2.INTER_AREA)))
        wrong[f"{seen.value} ({truth.view.value})"] += seen is not Look.MOVING and truth.view.value != "black"
    assert +wrong == Counter()


def decoded(path: Path) -> Iterator[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    while (got := video.read())[0]:
        yield cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("name", "repeats"), [("lag_normal_wli_clean_304_601.mp4", 0), ("lag_gastroscopy_video_results_672x544.mp4", 0)]
)
def test_nothing_of_a_real_clip_is_a_placeholder(name: str, repeats: int) -> None:
    """`repeats`: pictures that the clip itself has twice in a row, counted where it was decoded first."""
    path = VIDEOS / name
    if not path.exists():
        pytest.skip(f"../shared/data/video/{name} is not here")
    looker = Looker(SIZE, SIZE)
    seen = Counter(looker.look(rgba(cv2.resize(rgb, (SIZE, SIZE)))) for rgb in decoded(path))
    print(name, dict(seen))
    assert seen[Look.MOVING] > 100
    assert not seen[Look.BLACK] + seen[Look.BARS] + seen[Look.FLAT]
    assert seen[Look.REPEATED] == repeats
