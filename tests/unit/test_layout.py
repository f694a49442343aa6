"""Where the endoscope's picture is: believed when two looks agree, doubted when something large shines beside it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.capture import field as fields
from edge.capture.evidence import Layout, S
from edge.capture.layout import AGREE, GIVE_UP_NS, GROWN_TIMES, LOOKS, PICTURES, Finder, Watch
from edge.types import Field

W, H = 1920, 1080  # of the tower
w, h = 455, 256  # of the small picture
EVERY_NS = S // 50
CENTRE, RADIUS = (280, 128), 118


def tower(number: int = 0, centre: tuple[int, int] = CENTRE, radius: int = RADIUS, level: int = 110) -> np.ndarray:
    """Luma of a round field whose content moves, with a name and a date at the left."""
    y, x = np.mgrid[0:h, 0:w]
    wave = level + 0.35 * level * np.sin(x / 23 + number) * np.cos(y / 31 - number / 2)
    luma = np.where((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2, wave, 0).astype(np.uint8)
    for line, text in enumerate(["DOE JANE", "1970/01/01", f"11:12:{number % 60:02}"]):
        cv2.putText(luma, text, (8, 40 + 22 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
    return luma


def steps(finder: Finder, pictures: list[np.ndarray], begun_ns: int = 0) -> list[Layout]:
    return [finder.step(picture, begun_ns + number * EVERY_NS) for number, picture in enumerate(pictures)]


def found(**options: object) -> tuple[Field, np.ndarray]:
    finder = Finder(W, H)
    steps(finder, [tower(number, **options) for number in range(LOOKS * PICTURES)])  # type: ignore[arg-type]
    assert finder.field is not None
    assert finder.background is not None
    return finder.field, finder.background


def box(field: Field) -> np.ndarray:
    return np.array([field.x, field.y, field.x + field.width, field.y + field.height])


# ------------------------------------------------------------------------------------------------ Finder


def test_two_looks_that_agree_are_believed_and_not_one() -> None:
    finder = Finder(W, H)
    said = steps(finder, [tower(number) for number in range(LOOKS * PICTURES)])
    assert said == [Layout.SEARCHING] * (LOOKS * PICTURES - 1) + [Layout.KNOWN]
    assert finder.field is not None
    scale = W / w
    expected = np.array([CENTRE[0] - RADIUS, CENTRE[1] - RADIUS, CENTRE[0] + RADIUS, CENTRE[1] + RADIUS]) * scale
    assert np.abs(box(finder.field) - expected).max() < 3 * scale
    name = tuple(round(at * scale) for at in (8, 20, 110, 90))
    assert finder.field.x > name[2]


def test_looks_that_differ_are_no_field_until_two_agree() -> None:
    finder = Finder(W, H)
    wandering = [tower(number, centre=(150 + 40 * (number // PICTURES), 128), radius=110) for number in range(20)]
    assert set(steps(finder, wandering)) == {Layout.SEARCHING}
    assert finder.field is None
    steady = steps(finder, [tower(number) for number in range(LOOKS * PICTURES)], 20 * EVERY_NS)
    assert steady[-1] is Layout.KNOWN


def test_dark_pictures_say_nothing_and_do_not_undo_what_was_seen() -> None:
    finder = Finder(W, H)
    dark = np.full((h, w), 5, np.uint8)
    mixed = [picture for number in range(LOOKS * PICTURES) for picture in (tower(number), dark, dark)]
    said = steps(finder, mixed)
    assert Layout.KNOWN in said
    only_dark = Finder(W, H)
    assert set(steps(only_dark, [dark] * 100)) == {Layout.SEARCHING}
    assert only_dark.field is None


@pytest.mark.parametrize("picture", ["dark", "letters", "an L"])
def test_it_gives_up_and_still_finds_later(picture: str) -> None:
    luma = np.full((h, w), 5, np.uint8)
    if picture == "letters":
        for line in range(0, h, 14):
            cv2.putText(luma, "ENDOSCOPY REPORT " * 4, (0, line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
    elif picture == "an L":
        luma[:, :90] = luma[-70:, :] = 120
    finder, now_ns = Finder(W, H), 0
    while now_ns < GIVE_UP_NS:
        assert finder.step(luma, now_ns) is Layout.SEARCHING
        now_ns += EVERY_NS * 10
    assert finder.step(luma, now_ns) is Layout.UNKNOWN
    assert finder.field is None
    said = steps(finder, [tower(number) for number in range((LOOKS + 1) * PICTURES)], now_ns + EVERY_NS)
    assert said[0] is Layout.UNKNOWN
    assert said[-1] is Layout.KNOWN


def test_a_picture_in_the_picture_is_not_the_field() -> None:
    pictures = [tower(number) for number in range(LOOKS * PICTURES)]
    for picture in pictures:
        picture[170:240, 20:120] = 140
    finder = Finder(W, H)
    steps(finder, pictures)
    assert finder.field is not None
    assert finder.field.x > 130 * W / w


def test_agreement_is_of_areas() -> None:
    one, other = found()[0], found(radius=RADIUS - 12)[0]
    assert fields.overlap(one, one) == 1
    assert fields.overlap(one, other) < AGREE
    assert fields.overlap(one, other) == pytest.approx(((RADIUS - 12) / RADIUS) ** 2, abs=0.03)


# ------------------------------------------------------------------------------------------------ Watch


def watch(background: np.ndarray | None = None) -> Watch:
    field, brightest = found()
    return Watch(field, W, H, brightest if background is None else background)


def fits(one: Watch, pictures: list[np.ndarray]) -> list[bool]:
    return [one.fits(picture) for picture in pictures]


def menu(luma: np.ndarray) -> np.ndarray:
    """A small menu, and more text: not large enough to be a field."""
    cv2.rectangle(luma, (10, 150), (80, 175), 200, 1)
    for line, text in enumerate(["WHITE BALANCE", "IRIS AUTO", "ENHANCE A3"]):
        cv2.putText(luma, text, (6, 160 + 14 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255)
    return luma


def test_the_same_layout_fits_in_light_and_dark() -> None:
    pictures = [tower(number, level=level) for number, level in enumerate([110, 20, 180, 0, 110] * 4)]
    assert all(fits(watch(), pictures))


def test_text_and_a_small_menu_do_not_disturb() -> None:
    assert all(fits(watch(), [menu(tower(number)) for number in range(20)]))


@pytest.mark.parametrize(
    "other",
    [
        {"centre": (200, 128)},
        {"centre": (330, 128), "radius": 118},
        {"centre": (228, 128), "radius": 127},
        {"radius": 150},
    ],
    ids=["left", "right", "left and grown", "grown"],
)
def test_a_field_that_moved_or_grew_is_another_layout(other: dict[str, object]) -> None:
    said = fits(watch(), [tower(number, **other) for number in range(GROWN_TIMES + 2)])  # type: ignore[arg-type]
    assert said == [True] * (GROWN_TIMES - 1) + [False] * 3


def test_a_flash_is_no_other_layout() -> None:
    one = watch()
    for _ in range(5):
        assert all(fits(one, [np.full((h, w), 200, np.uint8)] * (GROWN_TIMES - 1) + [tower()]))


def test_a_picture_in_the_picture_that_was_there_is_no_growth_and_a_new_one_is() -> None:
    with_inset = [tower(number) for number in range(20)]
    for picture in with_inset:
        picture[170:240, 20:120] = 140
    finder = Finder(W, H)
    steps(finder, with_inset[: LOOKS * PICTURES])
    assert finder.field is not None
    assert finder.background is not None
    assert all(fits(Watch(finder.field, W, H, finder.background), with_inset))
    assert not all(fits(watch(), with_inset))


def test_a_field_that_shrank_is_said_by_nobody_but_harms_nobody() -> None:
    """What is inside the known field stays the endoscope's or black."""
    assert all(fits(watch(), [tower(number, radius=80) for number in range(20)]))
