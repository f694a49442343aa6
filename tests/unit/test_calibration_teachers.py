"""An ensemble of drawn nets as a teacher, and the cache that teachers share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration.pictures import Sample  # noqa: E402
from calibration.teachers.cache import Cache, digest_of, digest_of_net  # noqa: E402
from calibration.teachers.ensemble import FLIPS, Ensemble, soft_masks  # noqa: E402
from edge.errors import ModelError  # noqa: E402


class Redness(torch.nn.Module):
    """Logits are red, averaged over 2 x 2 pixels: a net that turns with its picture. `tilt` leans it to the right."""

    def __init__(self, gain: float = 4.0, tilt: float = 0.0) -> None:
        super().__init__()
        self.gain, self.tilt = (torch.nn.Parameter(torch.tensor(v)) for v in (gain, tilt))
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        logits = torch.nn.functional.avg_pool2d(self.gain * x[:, :1], 2)
        return logits + self.tilt * torch.linspace(-1, 1, logits.shape[-1])


def picture(seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def samples(count: int = 3) -> list[Sample]:
    return [Sample(str(i), picture(i), np.zeros((40, 56), np.uint8)) for i in range(count)]


@pytest.mark.parametrize("flip", [f for f in FLIPS if f != "none"])
def test_flips_are_undone(flip: str) -> None:
    plain, turned = (Ensemble([Redness()], (64,), (f,)).probability(picture()) for f in ("none", flip))
    np.testing.assert_allclose(turned, plain, atol=1e-6)


def test_flips_take_a_leaning_nets_lean_away() -> None:
    leaning = Redness(gain=0.0, tilt=3.0)
    alone, mirrored = (Ensemble([leaning], (64,), flips).probability(picture()) for flips in (("none",), tuple(FLIPS)))
    assert alone[:, -1].mean() - alone[:, 0].mean() > 0.5
    np.testing.assert_allclose(mirrored, 0.5, atol=1e-6)


def test_nets_and_sides_are_averaged_as_probabilities() -> None:
    nets = [Redness(4.0), Redness(1.0)]
    parts = [Ensemble([n], (s,), ("none",)).probability(picture()) for n in nets for s in (32, 64)]
    whole = Ensemble(nets, (32, 64), ("none",)).probability(picture())
    np.testing.assert_allclose(whole, np.mean(parts, 0), atol=1e-6)


def test_logits_are_the_log_odds_at_the_pictures_own_size() -> None:
    teacher = Ensemble([Redness()], (64,))
    logits, probability = teacher.logits(picture()), teacher.probability(picture())
    assert logits.shape == (40, 56)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probability, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([], (64,), ("none",)), "0 nets"),
        (([Redness()], (), ("none",)), "0 sides"),
        (([Redness()], (100,), ("none",)), "side 100"),
        (([Redness()], (64,), ("sideways",)), "'sideways', expected one of none, across, down, both"),
    ],
)
def test_an_impossible_ensemble_is_named(arguments: tuple, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        Ensemble(*arguments)


def test_soft_masks_are_the_same_from_the_cache(tmp_path: Path) -> None:
    net = Redness()
    first = soft_masks([net], samples(), (64,), ("none", "across"), tmp_path)
    asked, net.asked = net.asked, 0
    again = soft_masks([net], samples(), (64,), ("none", "across"), tmp_path)
    assert (asked, net.asked) == (6, 0)
    for before, after, sample in zip(first, again, samples(), strict=True):
        np.testing.assert_array_equal(before, after)
        assert before.dtype == np.uint8
        wanted = Ensemble([net], (64,), ("none", "across")).probability(sample.picture)
        assert np.abs(before / 255 - wanted).max() <= 0.5 / 255 + 1e-6


def test_another_net_picture_side_or_flip_is_another_entry(tmp_path: Path) -> None:
    net = Redness()
    soft_masks([net], samples(1), (64,), ("none",), tmp_path)
    with torch.no_grad():
        net.gain += 0.001
    changed = [
        ([net], samples(1), (64,), ("none",)),
        ([Redness()], samples(2)[1:], (64,), ("none",)),
        ([Redness()], samples(1), (32,), ("none",)),
        ([Redness()], samples(1), (64,), ("down",)),
    ]
    for arguments in changed:
        arguments[0][0].asked = 0
        soft_masks(*arguments, tmp_path)
        assert arguments[0][0].asked == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "one byte"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    (wanted,) = soft_masks([Redness()], samples(1), (64,), ("none",), tmp_path)
    (entry,) = (p for p in tmp_path.rglob("*") if p.is_file())
    whole = entry.read_bytes()
    spoilt = {"empty": b"", "cut": whole[:-7], "one byte": whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]}
    entry.write_bytes(spoilt[damage])
    net = Redness()
    (mask,) = soft_masks([net], samples(1), (64,), ("none",), tmp_path)
    assert net.asked == 1
    np.testing.assert_array_equal(mask, wanted)
    assert entry.read_bytes() == whole


def test_a_kill_while_writing_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).put("ab12", np.arange(3))
    assert Cache(tmp_path).get("ab12") is None
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_progress_counts_pictures(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    soft_masks([Redness()], samples(2), (64,), ("none",), tmp_path, lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_digests_tell_shapes_types_and_architectures_apart() -> None:
    flat = np.zeros(4, np.uint8)
    assert len({digest_of(flat), digest_of(flat.reshape(2, 2)), digest_of(flat.astype(np.int8)), digest_of("")}) == 4
    assert digest_of("a", "bc") != digest_of("ab", "c")
    assert digest_of_net(torch.nn.Sequential(torch.nn.ReLU())) != digest_of_net(torch.nn.Sequential(torch.nn.ReLU6()))
    assert Ensemble([Redness()]).digest() == Ensemble([Redness()]).digest()
