"""Recipes, the training loop, and what is refused before hours are spent."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import augment, recipe  # noqa: E402
from calibration.pictures import DatasetError  # noqa: E402
from calibration.recipe import Segment  # noqa: E402
from calibration.student import normalised  # noqa: E402
from calibration.train import (  # noqa: E402
    Place,
    Run,
    Segmentation,
    Sources,
    StageFolder,
    TrainingError,
)  # fmt: skip
from calibration.train.loop import view  # noqa: E402
from calibration.train.objectives import Features  # noqa: E402
from edge.errors import ModelError  # noqa: E402
from tests.support.broker import free_port  # noqa: E402
from tests.support.tiny import SIDE, TinyEncoder, drawn, tiny  # noqa: E402

STAGE = Segment(
    name="s", start="weights", seed=1, epochs=2, batch=4, side=SIDE, polyp_free=4, mixed=False, decoder_rate=5e-3
)
RECIPES = Path(recipe.__file__).parent / "recipes"


def quiet(_done: int, _all: int) -> None:
    pass


def stage(**changes: object) -> Segment:
    return msgspec.structs.replace(STAGE, **changes)


def sources() -> Sources:
    return Sources(drawn(12), drawn(4, 1, polyps=False))


def new_run(folder: Path, of: Segment = STAGE, samples: Sources | None = None, place: Place | None = None) -> Run:
    torch.set_num_threads(1)
    objective = Segmentation(tiny(), of.distil)
    return Run(StageFolder(folder, {"stage": msgspec.to_builtins(of)}), of, objective, samples or sources(), place)


def trained(folder: Path, of: Segment = STAGE, epochs: int | None = None, **options: object) -> Run:
    """A run of all its epochs, or one that stopped after some."""
    run = new_run(folder, of, **options)  # type: ignore[arg-type]
    for epoch in run.epochs(lambda: math.nan, quiet):
        if epoch.epoch == epochs:
            break
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {**run.average.state_dict(), **{f"raw.{k}": v for k, v in run.objective.state_dict().items()}}


# ----------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_ours_is_valid_and_called_as_its_file(path: Path) -> None:
    assert recipe.load(path).name == path.stem


def changed(text: str, replacement: str) -> str:
    written = (RECIPES / "mini.toml").read_text()
    assert text in written
    return written.replace(text, replacement, 1)


@pytest.mark.parametrize(
    ("text", "replacement", "said"),
    [
        ("epochs = 2", "epochs = 0", r"stages\[0\]\.epochs: expected `int` >= 1"),
        ("epochs = 2", "epoch = 2", r"unknown key stages\[0\]\.epoch \(did you mean epochs\?\)"),
        ("side = 64\nencoder", "side = 60\nencoder", "multiple of 32"),
        ('start = "base"', 'start = "bass"', "stage teacher: start is 'bass', expected one of weights, base"),
        ('start = "base"', 'start = "student"', "stage teacher: start is 'student'"),
        ('encoder = "mobilenetv2"', 'encoder = "resnet"', "encoder is 'resnet', expected one of mobilenetv2"),
        ('"teacher", "base"', '"teacher", "student"', "stage student: teachers is 'student'"),
        ("distil = 0.5", "distil = 0.0", "belong together"),
        ('"across"', '"sideways"', "flips is 'sideways', expected one of none"),
        ('name = "teacher"', 'name = "base"', "stage base: there is an earlier stage of this name"),
        ("widths = [8, 8, 8, 8]", "widths = [8, 8, 8]", r"stages\[0\]\.widths"),
        ("pictures = 16", "pictures = 8", r"quantize\.pictures: expected `int` >= 16"),
        ("pictures = 16", 'method = "finest"', "quantize.method is 'finest', expected one of"),
        ("polyp_free = 4", "phantom = 4", "phantom_pictures is 0"),
        ('start = "weights"', 'kind = "dream"', r"stages\[0\]\.kind is 'dream', expected one of segment"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(tmp_path: Path, text: str, replacement: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(changed(text, replacement))
    with pytest.raises(ModelError, match=said) as raised:
        recipe.load(tmp_path / "r.toml")
    assert "r.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------------------------------------- views


def test_a_soft_mask_moves_with_its_mask() -> None:
    (sample,) = drawn(1)
    for index in range(60):  # enough for every step to have its turn
        _, targets, _ = view(replace(sample, soft=sample.mask // 5), STAGE, 0, index)
        true, soft = targets[..., 0].astype(int), targets[..., 1].astype(int)
        assert np.abs(soft - true / 5).max() <= 2


def test_a_graft_puts_a_polyp_where_there_was_none() -> None:
    (wall,), donors = drawn(1, 1, polyps=False), Sources(drawn(4))
    free = stage(graft=1.0, calm_epochs=1)
    seen = [view(wall, free, 0, index, donors)[1][..., 0].any() for index in range(20)]
    assert sum(seen) > 5
    assert not any(view(wall, free, free.epochs - 1, index, donors)[1].any() for index in range(20))  # calm


def test_a_soft_mask_changes_nothing_of_picture_and_mask() -> None:
    (sample,) = drawn(1)
    for index in range(10):
        rng = np.random.default_rng((STAGE.seed, 1, index))
        picture, mask = augment.augmented(rng, sample.picture, sample.mask, SIDE)
        seen, targets, _ = view(replace(sample, soft=255 - sample.mask), STAGE, 1, index)
        np.testing.assert_array_equal(seen, picture)
        small = mask.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
        np.testing.assert_allclose(targets[..., 0], small, atol=9)  # two channels: other code, 1/32 of a pixel


# -------------------------------------------------------------------------------------------------- loop


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    log = trained(tmp_path, stage(epochs=8)).log
    assert log[-1].loss < 0.85 * log[0].loss


def test_soft_masks_teach(tmp_path: Path) -> None:
    """Where the teacher says the opposite of the truth, a student that only heeds the teacher learns the opposite."""
    samples = [replace(s, soft=255 - s.mask) for s in drawn(12)]
    run = trained(tmp_path, stage(epochs=8, distil=1.0, polyp_free=0), samples=Sources(samples))
    truth = trained(tmp_path / "t", stage(epochs=8, distil=0.0, polyp_free=0), samples=Sources(samples))
    with torch.no_grad():
        x = torch.full((1, 3, SIDE, SIDE), -0.5)
        assert run.average(x).mean() > truth.average(x).mean() + 0.3


def test_a_killed_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", stage(epochs=3))
    trained(tmp_path / "killed", stage(epochs=3), epochs=1)
    resumed = trained(tmp_path / "killed", stage(epochs=3))
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_the_log_and_its_curves(tmp_path: Path) -> None:
    trained(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    drawing = ElementTree.parse(tmp_path / "curves.svg").getroot()
    assert len(drawing.findall("{*}polyline")) == 1  # the loss; no picture was held out for a Dice


def test_a_run_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    trained(tmp_path, epochs=1)
    with pytest.raises(DatasetError, match=r"another recipe or other data \(stage differs\)"):
        new_run(tmp_path, stage(seed=2))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trained(tmp_path, epochs=1)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(DatasetError, match=r"checkpoint\.pt: cannot be read"):
        new_run(tmp_path)


def test_frozen_stages_keep_their_weights(tmp_path: Path) -> None:
    before = [p.clone() for p in tiny().encoder.stages[0].parameters()]
    after = trained(tmp_path, stage(frozen=1, epochs=1)).objective.encoder().stages[0].parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_at_once(tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    calm = run.objective.forward
    steps = iter(range(100))

    def forward(*batch: torch.Tensor) -> torch.Tensor:
        return calm(*batch) * (value if next(steps) == 1 else 1)

    monkeypatch.setattr(run.objective, "forward", forward)
    order = [s.name for s in run.sources.order(STAGE, 1)][4:8]
    with pytest.raises(TrainingError, match=f"epoch 2, step 2, on {', '.join(order)};"):
        next(run.epochs(lambda: math.nan, quiet))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert all(torch.isfinite(p).all() for p in run.objective.parameters())


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"batch": 13}, Place(threads=1), "12 training pictures, fewer than one batch of 13"),
        ({"batch": 4}, Place(threads=3), "a batch of 4 cannot be cut in 3 equal parts"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, int], place: Place, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        new_run(tmp_path, stage(**changes), place=place)


def test_feature_distillation_lowers_its_loss(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    elder = tiny().encoder.eval()
    torch.manual_seed(5)
    objective = Features(TinyEncoder(), lambda p: elder(normalised(p)), elder.channels, [(3, 3), (4, 4)])
    of = recipe.DistilEncoder(
        name="e", seed=1, epochs=6, batch=4, side=SIDE, teacher="t", mixed=False, encoder_rate=5e-3, decoder_rate=1e-2
    )
    run = Run(StageFolder(tmp_path, {}), of, objective, sources())
    log = list(run.epochs(lambda: math.nan, quiet))
    assert log[-1].loss < 0.8 * log[0].loss


# -------------------------------------------------------------------------------------------- processes


def _process(rank: int, world: int, folder: str, port: int) -> None:
    """One of several, as torchrun starts them."""
    import os

    from calibration.train import placed

    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    with placed("cpu") as place:
        trained(Path(folder), place=place)


@pytest.mark.timeout(600)  # each of the processes imports torch
def test_two_processes_train_the_net_that_one_does(tmp_path: Path) -> None:
    port = free_port()
    alone = trained(tmp_path / "one")
    torch.multiprocessing.spawn(_process, (2, str(tmp_path / "two"), port), nprocs=2)
    together = new_run(tmp_path / "two")
    assert together.done == STAGE.epochs
    for name, value in weights(alone).items():
        torch.testing.assert_close(weights(together)[name], value, rtol=1e-4, atol=1e-5)
