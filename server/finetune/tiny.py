"""A Qwen3-VL checkpoint folder with random weights and a quarter of a million parameters: everything of the real one
is in it, and it knows nothing. For trying the commands, and for their tests.

    python -m server.finetune.tiny DIR
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils.logging import disable_progress_bar

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Qwen3-VL's, without tools and films."""


def make(folder: Path, seed: int = 0) -> None:
    """Writes it. The same seed gives the same bytes."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    number = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 16_384,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "bos_token_id": None,
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = number("<|im_end|>")
    model.generation_config.pad_token_id = number("<|endoftext|>")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pictures = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 96 * 96}
    )
    pictures.save_pretrained(folder)


def _tokenizer() -> Qwen2Tokenizer:
    """Bytes, and the words of our own reports: nothing is unknown to it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    ours = importlib.resources.files("server.words")
    texts = [file.read_text(encoding="utf-8") for language in ("en", "de") for file in (ours / language).iterdir()]
    raw.train_from_iterator([*sorted(texts), '"section": "", "cites": ["T1"], "text": ""}, {"fact": ' * 20], trainer)
    learnt = json.loads(raw.to_str())["model"]
    vocabulary = {**learnt["vocab"], "<|endoftext|>": len(learnt["vocab"])}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in learnt["merges"]],
        eos_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL),
        chat_template=TEMPLATE,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    disable_progress_bar()
    make(options.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
