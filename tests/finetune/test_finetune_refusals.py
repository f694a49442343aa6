"""What is wrong is said before the first step, with the file's name, and nothing is changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.finetune import config, memory
from server.finetune.__main__ import main
from server.learn.export import MANIFEST
from tests.finetune.conftest import RECIPE

Refused = Callable[..., str]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of trl and its friends


@pytest.fixture
def own(desk: Path, tmp_path: Path) -> Path:
    """Copies, to be spoilt."""
    shutil.copytree(desk / "tiny", tmp_path / "tiny")
    shutil.copytree(desk / "data", tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def refused(own: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    def run(*order: str, code: int = 1) -> str:
        assert main([*(order or ("sft",)), str(own / "recipe.toml")]) == code
        said = capsys.readouterr().err
        assert said.startswith("finetune: ")
        assert not (own / "out" / "sft" / "adapter").exists()
        return said

    return run


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rank = 8", "rang = 8", "recipe.toml: lora: Object contains unknown field `rang`"),
        ("rank = 8", "rank = 0", "lora.rank: Expected `int` >= 1"),
        ("rank = 8", 'rank = "8"', "lora.rank: Expected `int`"),
        ('device = "cpu"', 'device = "tpu"', "device: Invalid enum value 'tpu'"),
        ('checkpoint = "tiny"', "", "missing required field `checkpoint`"),
        ("[lora]", "[lora", "not TOML"),
        ("learning_rate = 0.01", "learning_rate = -1", "sft.learning_rate"),
    ],
)
def test_a_wrong_recipe(own: Path, refused: Refused, old: str, new: str, said: str) -> None:
    (own / "recipe.toml").write_text(RECIPE.replace(old, new, 1))
    assert said in refused(code=2)


def test_no_recipe(own: Path, refused: Refused) -> None:
    (own / "recipe.toml").unlink()
    assert "recipe.toml: No such file" in refused(code=2)


def spoil_family(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"qwen3_vl"', '"llava"'))


def cut_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 100_000)


def name_another_shard(folder: Path) -> None:
    index = {"weight_map": {"model.language_model.layers.99.mlp.up_proj.weight": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def lose_a_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"layers.0.self_attn.q_proj", b"layers.0.self_attn.Q_proj"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "config.json: no such file, expected a qwen3_vl checkpoint folder"),
        (spoil_family, "config.json: model_type 'llava', expected 'qwen3_vl'"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: cannot be read as JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tiny: tokenizer.json missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "tiny: no weights in it"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (cut_weights, "model.safetensors: no whole safetensors file: 100000 bytes, expected"),
        (name_another_shard, "1 tensors of model.safetensors.index.json are in no file"),
        (lose_a_tensor, "tensors are missing or of another shape, first"),
    ],
)
def test_a_wrong_checkpoint(own: Path, refused: Refused, spoil: Callable[[Path], Any], said: str) -> None:
    spoil(own / "tiny")
    assert said in refused()


def test_a_machine_that_is_too_small(own: Path, refused: Refused) -> None:
    """A terabyte of weights, all of them holes."""
    shape = [1_000_000, 250_000]
    size = 4 * shape[0] * shape[1]
    layer = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"model.language_model.layers.0.mlp.up_proj.weight": layer}).encode()
    with (own / "tiny" / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    said = refused()
    assert "needs at least 931.5 GiB" in said
    assert "are free on this machine" in said


def test_what_a_training_needs_at_least(own: Path) -> None:
    from server.finetune import checkpoint

    looked = checkpoint.look(own / "tiny")
    recipe = config.load(own / "recipe.toml")
    layers = [shape for name, shape in looked.shapes.items() if "language_model.layers" in name and len(shape) == 2]
    assert len(layers) == 2 * 7  # all of them, and nothing of the eyes
    assert memory.learnt(looked, 8) == 8 * sum(map(sum, layers))
    assert memory.least(looked, recipe) == 4 * looked.parameters + 16 * memory.learnt(looked, 8)


def test_it_says_so_without_loading_anything(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_of(own, capsys, "needs")
    assert (code, "0.3 million parameters, 0.01 million are learnt: at least 0.0 GiB" in said) == (0, True)


def test_no_gpu(own: Path, refused: Refused) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (own / "recipe.toml").write_text(RECIPE.replace('device = "cpu"', ""))
    assert 'no GPU that CUDA can use; `device = "cpu"`' in refused()


def rewritten(own: Path, name: str, content: bytes) -> None:
    """A file of the export, and the manifest with it."""
    file = own / "data" / name
    file.write_bytes(content)
    manifest = json.loads((own / "data" / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (own / "data" / MANIFEST).write_text(json.dumps(manifest))


def test_an_export_that_was_changed(own: Path, refused: Refused) -> None:
    with (own / "data" / "sft.jsonl").open("ab") as file:
        file.write(b"\n")
    assert "sft.jsonl: has changed since the export" in refused()
    shutil.rmtree(own / "data")
    assert "expected a folder of `learn export`" in refused()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.replace(b"The procedure took", b"<|im_end|>", 1), "line 2: holds <|im_end|>"),
        (lambda line: b"{", "line 2: expected a sample of `learn export`"),
        (lambda line: b'{"prompt": [], "images": []}', "line 2: expected a sample of `learn export`: KeyError"),
        (
            lambda line: line.replace(b"The procedure took", b"a " * 20_000, 1),
            "tokens, expected at most `tokens_most` = 16384",
        ),
    ],
)
def test_a_sample_that_cannot_be_learnt(
    own: Path, refused: Refused, change: Callable[[bytes], bytes], said: str
) -> None:
    lines = (own / "data" / "sft.jsonl").read_bytes().splitlines()
    lines[1] = change(lines[1])
    rewritten(own, "sft.jsonl", b"\n".join(lines) + b"\n")
    assert said in refused()


def test_no_sample_at_all(own: Path, refused: Refused) -> None:
    rewritten(own, "sft.jsonl", b"")
    assert "sft.jsonl: not a single sample" in refused()


def test_orders_that_come_too_early(refused: Refused) -> None:
    assert "out/sft/adapter: no whole adapter; `sft` comes first" in refused("merge", "sft")
    assert "out/sft-merged: no such folder; pairs come after `sft` and `merge sft`" in refused("dpo")


def test_a_folder_of_something_else(own: Path, refused: Refused) -> None:
    (own / "out" / "sft").mkdir(parents=True)
    (own / "out" / "sft" / "thesis.txt").write_text("mine")
    assert "what is in it is no training; name another `out`" in refused()


@pytest.fixture
def done(own: Path, desk: Path, chain: object) -> Path:
    """As the whole recipe left it."""
    shutil.copytree(desk / "out", own / "out")
    return own


def said_of(own: Path, capsys: pytest.CaptureFixture[str], *order: str) -> tuple[int, str]:
    code = main([*order, str(own / "recipe.toml")])
    said = capsys.readouterr()
    return code, said.err or said.out


def test_another_recipe_does_not_go_on_with_it(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "recipe.toml").write_text(RECIPE.replace("rank = 8", "rank = 4").replace("[lora]", "seed = 7\n[lora]"))
    code, said = said_of(done, capsys, "sft")
    assert (code, "was begun with other values (seed, settings); remove it" in said) == (1, True)


def test_another_checkpoint_is_not_merged(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(done / "out" / "sft-merged")
    file = done / "tiny" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    code, said = said_of(done, capsys, "merge", "sft")
    assert (code, "tiny: is not the checkpoint that" in said) == (1, True)
    assert not (done / "out" / "sft-merged").exists()


def test_a_damaged_adapter_or_merge_is_found_out(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "out" / "dpo-merged" / "config.json").write_text("{}")
    code, said = said_of(done, capsys, "merge", "dpo")
    assert (code, "is no whole merged checkpoint" in said) == (1, True)
    os.truncate(done / "out" / "sft" / "adapter" / "adapter_model.safetensors", 100)
    code, said = said_of(done, capsys, "merge", "sft")
    assert (code, "no whole adapter" in said) == (1, True)


def test_two_trainings_do_not_share_a_folder(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (done / "out" / "sft" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = said_of(done, capsys, "sft")
    assert (code, "another training is going on there" in said) == (1, True)


def test_killed_before_the_adapter_had_its_name(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything was learnt; what was half written is written again."""
    folder = done / "out" / "sft"
    before = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    (folder / "adapter").rename(folder / ".adapter.begun")
    os.truncate(folder / ".adapter.begun" / "adapter_model.safetensors", 100)
    code, said = said_of(done, capsys, "sft")
    assert (code, "goes on from checkpoint-8" in said) == (0, True)
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".lock"]
