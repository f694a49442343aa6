#!/usr/bin/env python3
"""The wording of reports against a real server: llama.cpp's, with a tiny Qwen3-VL of random weights made on the spot.

    tools/llama_server.sh DIR          # once: builds the server
    python -m tools.tiny_vlm --llama DIR [--records 6]

It speaks nonsense in the form that it is asked for, so it tries the plumbing (pictures, schema, constrained decoding)
and the check, never quality. Needs the extra `finetune`. Exit code 1 when no answer was of that form.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from edge.errors import EdgeError
from server.config import Draft
from server.words import checklist, specimens, template, wording
from server.words.endpoint import Endpoint
from server.words.lexicon import LANGUAGES
from server.words.perturb import picture

STARTS_IN_S = 60.0
LIKED = {'"': 0.8, "]": 1.5, "}": 1.5, "{": 3.0}
"""How much likelier than others: so that sentences and lists come to an end."""


class TinyError(EdgeError):
    """The model cannot be made, or the server does not start."""


# ------------------------------------------------------------------------------------------------- the model


def make(folder: Path, llama: Path) -> None:
    """`tiny.gguf` and `mmproj.gguf` in `folder`."""
    from server.finetune import tiny

    checkpoint = folder / "checkpoint"
    tiny.make(checkpoint)
    _lean(checkpoint)
    for name, more in (("tiny.gguf", []), ("mmproj.gguf", ["--mmproj"])):
        command = [sys.executable, "-m", "tools.tiny_vlm", "--llama", str(llama), "--convert", str(checkpoint), *more]
        done = subprocess.run([*command, "--outfile", str(folder / name)], capture_output=True, text=True)
        if done.returncode:
            raise TinyError(f"{name}: {done.stderr.strip().splitlines()[-1]}")


def _lean(checkpoint: Path) -> None:
    """Towards the signs that end things: every hidden state gets the same part, and those signs' rows look for it."""
    import torch
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    part = torch.nn.functional.normalize(torch.randn(model.config.text_config.hidden_size), dim=0)
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight += 0.1 * part
        for sign, much in LIKED.items():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(sign)] += 0.1 * much * part
    model.save_pretrained(checkpoint)


def convert(llama: Path, checkpoint: Path, more: list[str]) -> None:
    """llama.cpp's own converter, but for two things that it looks up and that a tokenizer made on the spot has not."""
    source = llama / "llama.cpp"
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    from conversion import base  # type: ignore[import-not-found]

    def no_sentencepiece(*_: object) -> None:
        raise FileNotFoundError

    base.TextModel.get_vocab_base_pre = lambda *_: "qwen2"
    base.TextModel._create_vocab_sentencepiece = no_sentencepiece
    sys.argv = ["convert", str(checkpoint), "--outtype", "f16", *more]
    runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")


# ------------------------------------------------------------------------------------------------ the server


@contextlib.contextmanager
def serving(llama: Path, folder: Path) -> Iterator[str]:
    """Its URL. Raises TinyError."""
    program, port = llama / "build" / "bin" / "llama-server", _free_port()
    if not program.is_file():
        raise TinyError(f"{program}: expected what tools/llama_server.sh builds")
    model = ["-m", str(folder / "tiny.gguf"), "--mmproj", str(folder / "mmproj.gguf")]
    where = ["--host", "127.0.0.1", "--port", str(port), "-np", "1", "-c", "8192"]
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen([str(program), *model, *where], stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/health", child, folder / "server.log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.kill()
            child.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_IN_S
    while time.monotonic() < until and child.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise TinyError(f"llama-server does not start: {log.read_text(errors='replace').strip().splitlines()[-1:]}")


# ------------------------------------------------------------------------------------------------- the trial


def trial(url: str, records: int) -> Counter[str]:
    """Words so many invented records, in both languages."""
    counts: Counter[str] = Counter()
    lists = checklist.load()
    endpoint = Endpoint(Draft(url=url, model="tiny", timeout_s=300.0, tokens_most=2048, frames_most=2))
    for number in range(records):
        record, language = specimens.record(number), LANGUAGES[number % len(LANGUAGES)]
        drafted = template.draft(record, language, lists)
        report = wording.word(record, drafted, picture, endpoint, lists)
        counts["asked"] += 1
        if report.drafted.fallback:
            counts[f"fallback: {report.drafted.fallback}"] += 1
            continue
        stood = sum(one.by == "model" and not one.struck for one in report.sentences)
        counts["answers of the form asked for"] += 1
        counts["sentences struck"] += report.drafted.struck
        counts["sentences that stood"] += stood
        kept = {one.text for one in report.standing()} >= {one.text for one in drafted.sentences}
        counts["reports with all of the template"] += kept
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, required=True, metavar="DIR", help="where tools/llama_server.sh built it")
    parser.add_argument("--records", type=int, default=6)
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    options, more = parser.parse_known_args(arguments)
    if options.convert:
        convert(options.llama, options.convert, more)
        return 0
    if more:
        parser.error(f"unknown: {' '.join(more)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server goes, too
    try:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), options.llama)
            with serving(options.llama, Path(folder)) as url:
                counts = trial(url, options.records)
    except EdgeError as exc:
        print(f"tiny_vlm: {exc}", file=sys.stderr)
        return exc.exit_code
    table = Table(title="A tiny random Qwen3-VL, served by llama.cpp")
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in counts.items():
        table.add_row(name, str(count))
    Console().print(table)
    return 0 if counts["answers of the form asked for"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
