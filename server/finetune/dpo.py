"""By preference: of a draft and what was signed in its place, the model learns to lean to the second, and not to move
further from the model before than that takes. That model is the same weights without the adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

from server.finetune.config import Recipe
from server.finetune.training import lora, run


def train(recipe: Recipe) -> Path:
    """The adapter's folder. Raises FinetuneError."""
    return run("dpo", recipe, _trainer)


def _trainer(recipe: Recipe, net: Any, processor: Any, samples: Any, held: Any, common: dict[str, Any]) -> Any:
    return DPOTrainer(
        model=net,
        args=DPOConfig(**common, beta=recipe.dpo.beta),
        train_dataset=samples,
        eval_dataset=held,
        processing_class=processor,
        peft_config=lora(recipe),
    )
