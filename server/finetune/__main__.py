"""Train a Qwen3-VL checkpoint folder on what `endoedge-server learn export` wrote.

python -m server.finetune needs recipe.toml
python -m server.finetune sft recipe.toml
python -m server.finetune merge sft recipe.toml
python -m server.finetune dpo recipe.toml
python -m server.finetune merge dpo recipe.toml
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from edge.errors import EdgeError
from server.finetune.config import load
from server.finetune.errors import FinetuneError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for stage in ("sft", "dpo"):
        commands.add_parser(stage, help=f"train by {stage}; goes on where it was killed")
    commands.add_parser("needs", help="how much memory a training needs at least; nothing is loaded")
    merge = commands.add_parser("merge", help="adapter and checkpoint become a checkpoint folder")
    merge.add_argument("stage", choices=("sft", "dpo"))
    for command in commands.choices.values():
        command.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    options = parser.parse_args(arguments)
    try:
        done = _done(options)
    except EdgeError as exc:
        print(f"finetune: {exc}", file=sys.stderr)
        return exc.exit_code
    if os.environ.get("RANK", "0") == "0":  # of several processes
        print(done)
    return 0


def _done(options: argparse.Namespace) -> Path | str:
    recipe = load(options.recipe)  # before anything heavy is imported
    warnings.filterwarnings("ignore", category=FutureWarning)  # of these libraries, about each other
    try:
        from datasets import disable_progress_bars
        from transformers.utils.logging import disable_progress_bar

        from server.finetune import checkpoint, dpo, memory, sft
        from server.finetune.merge import merge
    except ImportError as exc:
        raise FinetuneError(f"training needs `pip install endoedge[finetune]`: {exc}") from exc
    disable_progress_bar()
    disable_progress_bars()
    if options.command == "needs":
        return memory.told(checkpoint.look(Path(recipe.checkpoint)), recipe)
    if options.command == "merge":
        return merge(options.stage, recipe)
    return sft.train(recipe) if options.command == "sft" else dpo.train(recipe)


if __name__ == "__main__":
    raise SystemExit(main())
