"""A recipe: everything a model is made of but the pictures. `calibration/recipes/NAME.toml`, read strictly.

Stages run in the order they are written; each starts from the encoder's given weights or from an earlier stage. The
last one is the student that is exported, given its heads and quantised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Union

from msgspec import Meta

from calibration import encoders, heads
from calibration.ranges import METHODS
from calibration.sensitivity import BEST
from calibration.teachers.ensemble import FLIPS
from edge.config import Name, decode, read_toml
from edge.errors import ModelError
from edge.types import Struct

WEIGHTS = "weights"  # `start`: the encoder's weights that the command line names
RELEASES = Path(__file__).parent / "releases"
FOLDER = "folder"  # `teacher`: the transformer folder that the command line names

Side = Annotated[int, Meta(ge=32, le=1024, multiple_of=32)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0, le=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Widths = tuple[Positive, Positive, Positive, Positive]


class Stage(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What the kinds of stage share. `polyp_free`, `phantom`: pictures an epoch, beside every polyp picture once.

    `side` in pixels; `frozen`: so many of the encoder's first stages keep their weights (at strides 2 and 4 they cost
    the most to train); `mixed`: convolutions in bfloat16 (float16 on a GPU that has no bfloat16).
    """

    name: Name
    seed: Count
    epochs: Annotated[int, Meta(ge=1, le=1000)]
    side: Side
    batch: Annotated[int, Meta(ge=1, le=4096)] = 12
    encoder: str = ""  # the recipe's, unless this says otherwise
    encoder_rate: Rate = 3e-4
    decoder_rate: Rate = 1e-3  # of everything that is not the encoder
    decay: Share = 0.02
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.995
    polyp_free: Count = 0
    phantom: Count = 0
    phantom_seed: Count = 0
    phantom_pictures: Count = 0  # rendered once, drawn from every epoch
    frozen: Annotated[int, Meta(ge=0, le=7)] = 0
    mixed: bool = True


class Segment(Stage, frozen=True, kw_only=True, tag_field="kind", tag="segment"):
    """Train a student to mark polyps, from masks and, where `teachers` are named, from their soft masks too.

    So that its encoder stays of use to heads, it may learn `tasks`, heads of calibration/heads/, on the polyp-free
    pictures that have their labels, and keep the features of `features_of`: the given weights, an earlier stage's
    encoder, or the folder's. What answers both is thrown away afterwards; the weights are added to the polyps' 1.
    """

    start: str
    widths: Widths = (48, 64, 96, 128)
    teachers: tuple[str, ...] = ()
    sides: tuple[Side, ...] = (256,)  # the teachers see every picture at each of these
    flips: tuple[str, ...] = ("none", "across")
    distil: Share = 0.0  # the soft masks' share of the loss
    graft: Share = 0.0  # share of views that another picture's polyp is put into
    calm_epochs: Count = 0  # the last epochs see milder views, and no grafts
    tasks: tuple[str, ...] = ()
    tasks_weight: Share = 0.0
    features_of: str = ""
    features_weight: Share = 0.0


class DistilEncoder(Stage, frozen=True, kw_only=True, tag_field="kind", tag="distil-encoder"):
    """Give an encoder that has no weights of its own the features of a teacher: an earlier stage's, or the folder's."""

    teacher: str
    views: Count = 0  # of a picture, then the same again, so that a slow teacher's answers are kept; 0: always new


AnyStage = Union[Segment, DistilEncoder]  # noqa: UP007  (msgspec reads it at run time on Python 3.10)
KINDS: dict[str, type[AnyStage]] = {"segment": Segment, "distil-encoder": DistilEncoder}


class Data(Struct, frozen=True, kw_only=True):
    """Which of the manifest's pictures are used, and the side at which they are kept in memory.

    A side larger than the nets' input, so that zooming in shows something.
    """

    datasets: tuple[str, ...] = ()  # none named: all
    kept_side: Side = 320


class Heads(Struct, frozen=True, kw_only=True):
    """Heads trained on the finished student's frozen encoder: files of calibration/heads/. `views` as in `add-head`."""

    names: tuple[str, ...] = ()
    views: Positive = 8


class Quantize(Struct, frozen=True, kw_only=True):
    """How ranges are found, and on how many training pictures: fewer than 16 say little about a range."""

    method: str = "mse"
    pictures: Annotated[int, Meta(ge=16, le=4096)] = 64


class Release(Struct, frozen=True, kw_only=True):
    """What people say about the model, for `release`: a file of calibration/releases/."""

    description: str = ""


class Recipe(Struct, frozen=True, kw_only=True):
    """A whole recipe, checked: stages only name earlier ones, and the last is the student at the recipe's side."""

    name: Name
    seed: Count
    side: Side
    encoder: str
    stages: Annotated[tuple[AnyStage, ...], Meta(min_length=1)]
    development: bool = False  # may use pictures that must not ship; release refuses the result
    data: Data = Data()
    heads: Heads = Heads()
    quantize: Quantize = Quantize()
    release: Release = Release()

    def encoder_of(self, stage: AnyStage) -> str:
        return stage.encoder or self.encoder

    def stage(self, name: str) -> AnyStage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def student(self) -> Segment:
        """The last stage, whose net is released."""
        last = self.stages[-1]
        assert isinstance(last, Segment)  # `load` has seen to it
        return last


def load(path: Path) -> Recipe:
    """Read and check a recipe. Raises ModelError, one line naming file, key and what is allowed."""
    table = read_toml(path, ModelError)
    stages = []
    for index, stage in enumerate(table.get("stages", [])):
        kind = stage.get("kind", Segment.__struct_config__.tag)
        _one_of(f"{path}: stages[{index}].kind", kind, tuple(KINDS))
        stages.append(decode(stage, KINDS[kind], str(path), f"stages[{index}]", ModelError))
    recipe = decode({**table, "stages": stages}, Recipe, str(path), error=ModelError)
    _check(recipe, str(path))
    return recipe


def _one_of(where: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ModelError(f"{where} is {value!r}, expected one of {', '.join(allowed) or '(none)'}")


def _check(recipe: Recipe, file: str) -> None:
    _one_of(f"{file}: quantize.method", recipe.quantize.method, [*METHODS, BEST])
    for name in recipe.heads.names:
        _one_of(f"{file}: heads.names", name, heads.names())
    if recipe.release.description:
        _one_of(f"{file}: release.description", recipe.release.description, [p.stem for p in RELEASES.glob("*.toml")])
    for index, stage in enumerate(recipe.stages):
        where = f"{file}: stage {stage.name}"
        earlier = recipe.stages[:index]
        if stage.name in {other.name for other in earlier}:
            raise ModelError(f"{where}: there is an earlier stage of this name")
        _one_of(f"{where}: encoder", recipe.encoder_of(stage), encoders.names())
        if stage.phantom and not stage.phantom_pictures:
            raise ModelError(f"{where}: phantom is {stage.phantom}, but phantom_pictures is 0: none to draw from")
        if isinstance(stage, Segment):
            _check_segment(recipe, stage, earlier, where)
        else:
            nets = [s.name for s in earlier if isinstance(s, Segment)]
            _one_of(f"{where}: teacher", stage.teacher, [FOLDER, *nets])
    last = recipe.stages[-1]
    if not isinstance(last, Segment) or last.side != recipe.side:
        raise ModelError(f"{file}: the last stage is {last.name}, expected one of kind segment and side {recipe.side}")


def _check_segment(recipe: Recipe, stage: Segment, earlier: Sequence[AnyStage], where: str) -> None:
    nets = [s.name for s in earlier if isinstance(s, Segment)]
    _one_of(f"{where}: start", stage.start, [WEIGHTS, *(s.name for s in earlier)])
    if stage.start != WEIGHTS:
        mine, theirs = recipe.encoder_of(stage), recipe.encoder_of(recipe.stage(stage.start))
        if mine != theirs:
            raise ModelError(f"{where}: encoder {mine} cannot start from {stage.start}, whose encoder is {theirs}")
    for teacher in stage.teachers:
        _one_of(f"{where}: teachers", teacher, nets)
    for flip in stage.flips:
        _one_of(f"{where}: flips", flip, tuple(FLIPS))
    if bool(stage.teachers) != (stage.distil > 0) or (stage.teachers and not (stage.sides and stage.flips)):
        raise ModelError(f"{where}: teachers, sides, flips and a distil above 0 belong together")
    _check_beside(stage, nets, where)


def _check_beside(stage: Segment, nets: Sequence[str], where: str) -> None:
    """What the encoder learns beside the polyps."""
    for task in stage.tasks:
        _one_of(f"{where}: tasks", task, [name for name in heads.names() if _is_task(heads.named(name))])
    if stage.features_of:
        _one_of(f"{where}: features_of", stage.features_of, [WEIGHTS, FOLDER, *nets])
    if bool(stage.tasks) != (stage.tasks_weight > 0) or (stage.tasks and not stage.polyp_free):
        raise ModelError(f"{where}: tasks, polyp_free and a tasks_weight above 0 belong together")
    if bool(stage.features_of) != (stage.features_weight > 0):
        raise ModelError(f"{where}: features_of and a features_weight above 0 belong together")


def _is_task(head: heads.Head) -> bool:
    """Can it be learned from the labels of pictures as they are, and released?"""
    return head.kind == "classify" and head.spoil is None and head.ships
