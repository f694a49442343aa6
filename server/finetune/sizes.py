"""How much memory the published sizes of Qwen3-VL would need: from their shapes, without a weight. An estimate.

python -m server.finetune.sizes
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from server.finetune import memory
from server.finetune.checkpoint import Checkpoint
from server.finetune.config import Recipe


class Size(NamedTuple):
    """Of the language model: width, layers, inner width, heads. Of the eyes: depth, width, inner width."""

    name: str
    text: tuple[int, int, int, int]
    eyes: tuple[int, int, int]
    tied: bool  # input and output embeddings are one


SIZES = (
    Size("2B", (2048, 28, 6144, 16), (24, 1024, 4096), True),
    Size("4B", (2560, 36, 9728, 32), (24, 1024, 4096), True),
    Size("8B", (4096, 36, 12288, 32), (27, 1152, 4304), False),
    Size("32B", (5120, 64, 25600, 64), (27, 1152, 4304), False),
)
SEQUENCES = {"sft": 1, "dpo": 2}  # at once, with `batch = 1`


def checkpoint(size: Size) -> Checkpoint:
    width, layers, inner, heads = size.text
    depth, eyes, eyes_inner = size.eyes
    text = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": inner, "head_dim": 128}
    seen = {"hidden_size": eyes, "depth": depth, "intermediate_size": eyes_inner, "out_hidden_size": width}
    config = Qwen3VLConfig(
        text_config={**text, "num_attention_heads": heads, "num_key_value_heads": 8, "rope_parameters": _rope()},
        vision_config={**seen, "num_heads": 16, "deepstack_visual_indexes": [depth // 4, depth // 2, 3 * depth // 4]},
        tie_word_embeddings=size.tied,
    )
    with torch.device("meta"):
        net = Qwen3VLForConditionalGeneration(config)
    return Checkpoint(Path(size.name), {name: tuple(one.shape) for name, one in net.named_parameters()})


def activations(size: Size, recipe: Recipe, sequences: int) -> int:
    """Bytes: what is kept of each layer with `recompute`, and one layer's own."""
    width, layers, inner, _ = size.text
    return 2 * sequences * recipe.tokens_most * (layers * width + 4 * inner)


def _rope() -> dict[str, object]:
    sections = {"mrope_section": [24, 20, 20], "mrope_interleaved": True}
    return {"rope_type": "default", "rope_theta": 5_000_000.0, **sections}


def main() -> int:
    recipe = Recipe(checkpoint=".", data=".", out=".")
    print(f"GiB, bf16, rank {recipe.lora.rank}, samples of {recipe.tokens_most} tokens, one at a time")
    print(f"{'':4}{'weights and LoRA':>18}" + "".join(f"{'+ ' + stage:>8}" for stage in SEQUENCES))
    for size in SIZES:
        least = memory.least(checkpoint(size), recipe)
        with_activations = [least + activations(size, recipe, count) for count in SEQUENCES.values()]
        print(
            f"{size.name:4}{least / memory.GIB:18.1f}"
            + "".join(f"{all_ / memory.GIB:8.1f}" for all_ in with_activations)
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
