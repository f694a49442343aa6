"""`recipe.toml` → frozen structs. An unknown key, a wrong type or a value out of range is a ConfigError that names file
and key. Relative paths are relative to that file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from edge.errors import ConfigError
from edge.types import Struct

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Stage = Literal["sft", "dpo"]
Some = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, Meta(gt=0, le=1)]


class Lora(Struct, frozen=True, kw_only=True):
    """`[lora]`: the language model's linear layers; the eyes stay as they are."""

    rank: Annotated[int, Meta(ge=1, le=512)] = 16
    alpha: Annotated[float, Meta(gt=0, le=1024)] = 32.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.05


class Steps(Struct, frozen=True, kw_only=True):
    epochs: Annotated[float, Meta(gt=0, le=1000)] = 2.0
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1  # samples at once, a GPU
    accumulate: Annotated[int, Meta(ge=1, le=1024)] = 8  # batches a step
    warmup: Annotated[float, Meta(ge=0, lt=1)] = 0.03  # of all steps
    save_every: Count = 50  # steps; so much is lost when it is killed


class Sft(Steps, frozen=True, kw_only=True):
    """`[sft]`."""

    learning_rate: Rate = 1e-4


class Dpo(Steps, frozen=True, kw_only=True):
    """`[dpo]`. `beta`: how dear it is to move away from the model before."""

    epochs: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    learning_rate: Rate = 5e-6
    beta: Annotated[float, Meta(gt=0, le=10)] = 0.1


class Recipe(Struct, frozen=True, kw_only=True):
    """`recipe.toml`."""

    checkpoint: Some  # a Qwen3-VL folder
    data: Some  # a folder of `learn export`
    out: Some  # OUT/sft, OUT/sft-merged, OUT/dpo, OUT/dpo-merged
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 1
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Literal["bf16", "fp32"] = "bf16"  # of the frozen weights and the arithmetic; what is learnt is fp32
    tokens_most: Annotated[int, Meta(ge=64, le=262_144)] = 16_384  # of one sample; a longer one is refused
    recompute: bool = True  # activations are computed again instead of kept: less memory, a third more time
    lora: Lora = Lora()
    sft: Sft = Sft()
    dpo: Dpo = Dpo()

    def steps(self, stage: Stage) -> Sft | Dpo:
        return self.sft if stage == "sft" else self.dpo

    def base(self, stage: Stage) -> Path:
        """The checkpoint that a stage begins with."""
        return Path(self.checkpoint) if stage == "sft" else self.merged("sft")

    def folder(self, stage: Stage) -> Path:
        """Of a stage's training."""
        return Path(self.out) / stage

    def merged(self, stage: Stage) -> Path:
        return Path(self.out) / f"{stage}-merged"


def load(file: Path) -> Recipe:
    """Raises ConfigError."""
    try:
        recipe = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Recipe)
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: not TOML: {exc}") from exc
    except msgspec.ValidationError as exc:
        text, _, at = str(exc).partition(" - at `$.")
        key = re.sub(r"`$", "", at)
        raise ConfigError(f"{file}: {key}: {text}" if key else f"{file}: {text}") from exc
    beside = file.absolute().parent
    paths = {name: str(beside / getattr(recipe, name)) for name in ("checkpoint", "data", "out")}
    return replace(recipe, **paths)
