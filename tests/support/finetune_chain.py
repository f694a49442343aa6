"""`python -m tests.support.finetune_chain RECIPE`: the whole recipe in one process, which may not reach a network. The
last line is JSON: how far a merged checkpoint's answers are from those of checkpoint and adapter."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from server.finetune.config import Recipe, Stage, load


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"{event} {arguments}\n".encode())
        os._exit(97)


def answers(recipe: Recipe, stage: Stage) -> dict[str, object]:
    import torch
    from peft import PeftModel
    from PIL import Image

    from server.finetune import checkpoint

    line = json.loads((Path(recipe.data) / "dpo.jsonl").read_text().splitlines()[0])
    processor = checkpoint.processor(recipe.merged(stage))
    for message in line["prompt"]:
        for part in message["content"]:
            if part["type"] == "image":
                part["image"] = Image.open(Path(recipe.data) / line["images"][0])
    asked = processor.apply_chat_template(
        [line["prompt"]], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    base = checkpoint.model(recipe.base(stage))
    with torch.no_grad():
        before = base(**asked).logits
        adapted = PeftModel.from_pretrained(base, str(recipe.folder(stage) / "adapter")).eval()
        merged = checkpoint.model(recipe.merged(stage)).eval()
        after, ours = merged(**asked).logits, adapted(**asked).logits
        said = [one.generate(**asked, max_new_tokens=12, do_sample=False)[0].tolist() for one in (adapted, merged)]
    return {
        "learnt": float((before - ours).abs().max()),
        "apart": float((after - ours).abs().max()),
        "same": said[0] == said[1],
        "said": len(said[0]) - asked["input_ids"].shape[1],
    }


def main() -> int:
    sys.addaudithook(_refuse)
    from server.finetune.__main__ import main as command

    file = sys.argv[1]
    recipe = load(Path(file))
    for order in (["sft"], ["sft"], ["merge", "sft"], ["merge", "sft"], ["dpo"], ["merge", "dpo"]):
        if code := command([*order, file]):
            return code
    print(json.dumps({stage: answers(recipe, stage) for stage in ("sft", "dpo")}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
