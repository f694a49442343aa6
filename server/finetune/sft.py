"""Supervised: the model learns to say what clinicians signed, of the same facts and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import SFTConfig, SFTTrainer

from server.finetune.config import Recipe
from server.finetune.training import lora, run


def train(recipe: Recipe) -> Path:
    """The adapter's folder. Raises FinetuneError."""
    return run("sft", recipe, _trainer)


def _trainer(recipe: Recipe, net: Any, processor: Any, samples: Any, held: Any, common: dict[str, Any]) -> Any:
    return SFTTrainer(
        model=net,
        args=SFTConfig(**common, completion_only_loss=True),
        train_dataset=samples,
        eval_dataset=held,
        processing_class=processor,
        peft_config=lora(recipe),
    )
