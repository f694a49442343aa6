"""What an encoder learns beside polyps: heads' tasks, another encoder's features; residue laid into clean bowels."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from calibration import heads, recipe  # noqa: E402
from calibration.addhead import add  # noqa: E402
from calibration.examples import Encoder, Tapper, chosen  # noqa: E402
from calibration.features import pooled  # noqa: E402
from calibration.learn import balance  # noqa: E402
from calibration.manifest import Entry, read  # noqa: E402
from calibration.pictures import DatasetError, Picture, Sample  # noqa: E402
from calibration.recipe import Segment  # noqa: E402
from calibration.residue import residue, soiled  # noqa: E402
from calibration.student import normalised  # noqa: E402
from calibration.train import Run, Segmentation, Sources, StageFolder  # noqa: E402
from calibration.train.beside import NO_ANSWER, Kept, Task, TaskLoss  # noqa: E402
from calibration.train.loop import view  # noqa: E402
from calibration.train.sources import answered  # noqa: E402
from edge.errors import ModelError  # noqa: E402
from tests.support import bare as small  # noqa: E402
from tests.support.tiny import SIDE, TinyEncoder, drawn, tiny  # noqa: E402

MINI = (Path(recipe.__file__).parent / "recipes/mini.toml").read_text()
MUCOSA, STOOL = (190, 90, 80), (170, 140, 50)
PREPARATION = heads.named("preparation")
STAGE = Segment(
    name="s", start="weights", seed=1, epochs=6, batch=4, side=SIDE, polyp_free=24, mixed=False, calm_epochs=6,
    encoder_rate=2e-3, decoder_rate=1e-2, tasks=("landmark", "preparation"), tasks_weight=1.0,
)  # fmt: skip


def wall(seed: int, patch: bool = False, size: tuple[int, int] = (96, 96)) -> Picture:
    """Mucosa, noisy; with a patch of stool in it."""
    rng = np.random.default_rng(seed)
    picture = np.tile(np.uint8(MUCOSA), (*size, 1))
    if patch:
        centre = tuple(int(v) for v in rng.integers(25, 70, 2))
        cv2.circle(picture, centre, 18, STOOL, -1)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


# ----------------------------------------------------------------------------------------------- residue


def test_residue_is_found_by_its_colour_alone() -> None:
    assert not residue(wall(1)).any()
    found = residue(wall(1, patch=True))
    assert 0.8 < found.sum() / (np.pi * 18**2) < 1.2
    assert not residue(np.zeros((64, 64, 3), np.uint8)).any()


def test_a_clean_bowel_becomes_a_soiled_one_and_stays_as_it_was_elsewhere() -> None:
    clean, donor = wall(1), wall(2, patch=True, size=(120, 140))
    made = [soiled(np.random.default_rng(seed), clean, donor) for seed in range(20)]
    shown = [one for one in made if one is not None]
    assert len(shown) > 10
    for one in shown:
        assert one.shape == clean.shape
        changed = np.abs(one.astype(int) - clean).max(2) > 0
        assert 0 < changed.mean() < 0.6
        assert residue(one).any()
    again = soiled(np.random.default_rng(0), clean, donor)
    assert (made[0] is None) == (again is None)
    if again is not None and made[0] is not None:
        np.testing.assert_array_equal(made[0], again)


def test_what_shows_nothing_gives_nothing() -> None:
    rng = np.random.default_rng(0)
    assert soiled(rng, wall(1), wall(2)) is None
    assert soiled(rng, np.zeros((96, 96, 3), np.uint8), wall(2, patch=True)) is None


# ------------------------------------------------------------------------------------------------- tasks


def samples() -> list[Sample]:
    """Clean and soiled walls, some of them the caecum: those are darker. None answers both."""
    empty, found = np.zeros((SIDE, SIDE), np.uint8), []
    for index in range(24):
        dark, soil = index % 4 == 0, index % 4 in (1, 3)
        picture = wall(index, patch=soil, size=(SIDE, SIDE))
        picture = picture // 2 if dark else picture
        found.append(Sample(f"wall {index}", picture, empty, answers=(int(dark), NO_ANSWER if dark else int(soil))))
    return found


def tasks(of: list[Sample]) -> list[Task]:
    return [Task.of(heads.named(name), place, of) for place, name in enumerate(STAGE.tasks)]


def test_only_a_clean_bowel_gets_residue_and_the_answer_that_goes_with_it() -> None:
    _, task = tasks(samples())
    assert all(donor.answers[1] == 1 for donor in task.donors)
    rng, seen = np.random.default_rng(3), []
    for _ in range(60):
        clean = wall(40, size=(SIDE, SIDE))
        picture, answers = task.mixed(rng, clean, (0, 0))
        assert answers == (0, int(picture is not clean))
        seen.append(answers[1])
    assert 10 < sum(seen) < 50
    for answers in ((0, 1), (1, NO_ANSWER)):
        assert all(task.mixed(rng, clean, answers) == (clean, answers) for _ in range(20))


def test_a_view_carries_its_answers_and_polyps_have_none() -> None:
    free = samples()
    sources = Sources(drawn(4), free, tasks=tasks(free))
    assert view(free[0], STAGE, 0, 0, sources)[2] == (1, NO_ANSWER)
    assert view(sources.polyps[0], STAGE, 0, 0, sources)[2] == (NO_ANSWER, NO_ANSWER)
    assert {view(free[2], STAGE, 0, index, sources)[2] for index in range(30)} == {(0, 0), (0, 1)}


def test_classes_weigh_the_same_once_half_of_the_clean_are_soiled() -> None:
    rare = [s for s in samples() if s.answers[1] != 1][:20] + [s for s in samples() if s.answers[1] == 1][:3]
    (_, task), clean = tasks(rare), sum(s.answers[1] == 0 for s in rare)
    np.testing.assert_allclose(task.weights, balance(PREPARATION, np.repeat([0, 1], [clean, clean + 6])))


def test_pictures_without_an_answer_count_nothing() -> None:
    encoder = TinyEncoder()
    loss = TaskLoss(tasks(samples()), encoder.channels)
    levels = encoder(torch.randn(3, 3, SIDE, SIDE))
    answers = torch.full((3, 2), NO_ANSWER)
    assert float(loss(levels, None, answers).detach()) == 0.0
    loss.eval()  # no running figures, so that two calls can be compared
    answers[1, 0] = 1
    alone = loss([level[1:2] for level in levels], None, answers[1:2])
    torch.testing.assert_close(loss(levels, None, answers), alone)


def test_a_level_that_is_the_same_everywhere_has_a_gradient() -> None:
    loss = TaskLoss(tasks(samples()), TinyEncoder.channels)
    levels = [torch.zeros(2, c, 64 >> i, 64 >> i, requires_grad=True) for i, c in enumerate(TinyEncoder.channels)]
    loss(levels, None, torch.tensor([[0, 1], [1, -1]])).backward()
    assert all(torch.isfinite(level.grad).all() for level in levels[1:])


def run(folder: Path, of: Segment, epochs: int | None = None) -> Run:
    torch.set_num_threads(1)
    free, student = samples(), tiny()
    posed = tasks(free) if of.tasks else []
    torch.manual_seed(5)
    beside = [(TaskLoss(posed, student.encoder.channels), of.tasks_weight)] if posed else []
    objective = Segmentation(student, 0.0, beside)
    made = Run(StageFolder(folder, {"s": msgspec.to_builtins(of)}), of, objective, Sources(drawn(12), free, (), posed))
    for epoch in made.epochs(lambda: math.nan, lambda _done, _all: None):
        if epoch.epoch == epochs:
            break
    return made


def test_tasks_are_learned_and_a_killed_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", STAGE)
    run(tmp_path / "cut", STAGE, epochs=2)
    cut = run(tmp_path / "cut", STAGE)
    for name, value in whole.objective.state_dict().items():
        assert torch.equal(value, cut.objective.state_dict()[name]), name
    loss = whole.objective.beside[0].eval()
    free = samples()
    pictures = torch.from_numpy(np.stack([s.picture for s in free])).permute(0, 3, 1, 2)
    caecum = torch.tensor([s.answers[0] for s in free]) == 1
    with torch.no_grad():
        features = pooled(whole.objective.net.eval().encoder(normalised(pictures)))
        said = loss.answers[0](loss._standardised(features)).argmax(1) == 1
    assert said[caecum].float().mean() > 0.8
    assert said[~caecum].float().mean() < 0.2


# ---------------------------------------------------------------------------------------------- features


def test_another_encoders_features_are_kept_and_it_learns_nothing(tmp_path: Path) -> None:
    plain = msgspec.structs.replace(STAGE, tasks=(), tasks_weight=0.0)
    elder = TinyEncoder().eval()
    before = {name: value.clone() for name, value in elder.state_dict().items()}
    student = tiny()
    kept = Kept(lambda p: elder(normalised(p)), elder.channels, elder.channels, [(3, 3), (4, 4)])
    pictures = torch.from_numpy(np.stack([s.picture for s in samples()])).permute(0, 3, 1, 2)

    def apart() -> float:
        with torch.no_grad():
            return float(kept(student.encoder.eval()(normalised(pictures)), pictures))

    first = apart()
    sources = Sources(drawn(12), samples())
    made = Run(StageFolder(tmp_path, {}), plain, Segmentation(student, 0.0, [(kept, 1.0)]), sources)
    list(made.epochs(lambda: math.nan, lambda _done, _all: None))
    assert apart() < 0.7 * first
    assert all(torch.equal(value, before[name]) for name, value in elder.state_dict().items())
    assert all(parameter.grad is None for parameter in elder.parameters())


# --------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('tasks = ["landmarks"]\ntasks_weight = 0.1', "stage student: tasks is 'landmarks', expected one of"),
        ('tasks = ["view"]\ntasks_weight = 0.1', "tasks is 'view', expected one of"),  # makes its own examples
        ('tasks = ["site"]\ntasks_weight = 0.1', "tasks is 'site', expected one of"),  # never ships
        ('tasks = ["landmark"]', "tasks, polyp_free and a tasks_weight above 0 belong together"),
        ("tasks_weight = 0.1", "tasks, polyp_free and a tasks_weight above 0 belong together"),
        ('features_of = "students"\nfeatures_weight = 0.1', "features_of is 'students', expected one of weights"),
        ('features_of = "weights"', "features_of and a features_weight above 0 belong together"),
    ],
)
def test_what_is_wrong_with_a_stage_is_said(tmp_path: Path, keys: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(MINI.replace("distil = 0.5\n", f"distil = 0.5\n{keys}\n"))
    with pytest.raises(ModelError, match=said):
        recipe.load(tmp_path / "r.toml")


def entry(label: str) -> Entry:
    return Entry(dataset="d", path="a.png", sha256="0", split="train", group="g", licence="l", ships=True,
                 polyp_free=True, labels={"landmark": label})  # fmt: skip


def test_a_task_without_pictures_of_a_class_or_with_a_strange_label_is_named() -> None:
    assert answered([entry("other"), entry("caecum")], ["landmark", "landmark"]) == [(0, 0), (1, 1)]
    with pytest.raises(DatasetError, match="task landmark: no polyp-free training picture of class caecum"):
        answered([entry("other")], ["landmark"])
    with pytest.raises(DatasetError, match=r"d/a\.png: task landmark 'ileum' is none of other, caecum"):
        answered([entry("ileum")], ["landmark"])


# -------------------------------------------------------------------------------------------- a head's views

PARTS = (("train", 10), ("val", 5))


def test_a_head_that_mixes_learns_from_twice_the_clean_views(bare: Path, tmp_path: Path) -> None:
    entries = small.drawn(tmp_path / "data", "preparation", ("adequate", "inadequate"))
    for place, one in enumerate(entries):
        soil = one.labels["preparation"] == "inadequate"
        cv2.imwrite(str(tmp_path / "data" / one.path), wall(place, patch=soil)[..., ::-1])
        entries[place] = msgspec.structs.replace(one, sha256=f"{place:064x}")
    order = small.order(bare, tmp_path, "preparation", entries, views=4)
    listed = read(order.manifest)
    found = chosen(listed, "preparation", PREPARATION, "train", False)
    session = Encoder(small.tapped_session(bare / "fp32.onnx"), "digest")
    tapper = Tapper(listed, "preparation", PREPARATION, [session], tmp_path / "cache")
    examples = tapper.training(found, 4, 1, lambda _done, _all: None)
    views = np.bincount(examples.targets.astype(int))
    assert views[0] == 10 * 4
    assert 10 * 4 + 20 < views[1] <= 10 * 4 + 10 * 4
    unmixed = replace(PREPARATION, mix=None)
    plain = Tapper(listed, "preparation", unmixed, [session], tmp_path / "cache").training(found, 4, 1, lambda *_: None)
    np.testing.assert_array_equal(np.bincount(plain.targets.astype(int)), [40, 40])
    assert add(order, lambda *_: None).pictures == {part: dict.fromkeys(PREPARATION.labels, n) for part, n in PARTS}
