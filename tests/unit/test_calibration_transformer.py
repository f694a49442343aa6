"""Transformer teachers: checkpoints with random weights that the test writes itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Slow to import on a busy machine: done here, where no test's clock runs.
transformers = pytest.importorskip("transformers", reason="the calibration extra is not installed")
pytest.importorskip("transformers.models.dinov2.modeling_dinov2")

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from calibration.losses import FeatureLoss  # noqa: E402
from calibration.teachers import transformer  # noqa: E402
from edge.errors import ModelError  # noqa: E402

SIDE, PATCH, WIDTH = 64, 8, 16
FAMILIES = {
    "dinov2": ("Dinov2Config", {"image_size": 32}),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", {"image_size": 32, "num_register_tokens": 4}),
    "dinov3_vit": ("DINOv3ViTConfig", {"num_register_tokens": 4}),
}


def checkpoint(folder: Path, family: str = "dinov2", mean: float = 0.5, deviation: float = 0.25) -> Path:
    """A tiny net with random weights whose blocks pass their input on, so that a patch answers for itself alone."""
    kind, settings = FAMILIES[family]
    if not hasattr(transformers, kind):
        pytest.skip(f"this version of transformers has no {family}")
    torch.manual_seed(0)
    config = getattr(transformers, kind)(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, patch_size=PATCH, **settings
    )
    net = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "layer_scale" in name:
                weight.zero_()
    transformers.utils.logging.disable_progress_bar()
    net.save_pretrained(folder)
    normalisation = {"image_mean": [mean] * 3, "image_std": [deviation] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalisation))
    return folder


def pictures(count: int = 2, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE + PATCH), np.uint8)
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_patch_is_where_the_picture_has_it(tmp_path: Path, family: str) -> None:
    teacher = transformer.open(checkpoint(tmp_path, family), WIDTH)
    before = pictures()
    after = before.clone()
    after[:, :, 2 * PATCH : 3 * PATCH, 5 * PATCH : 6 * PATCH] ^= 128
    features = teacher.features(before)
    assert features.shape == (2, WIDTH, SIDE // PATCH, SIDE // PATCH + 1)
    assert features.dtype == torch.float32
    changed = (teacher.features(after) - features).abs().amax((0, 1)) > 1e-3
    assert changed.nonzero().tolist() == [[2, 5]]


def test_pictures_are_resized_to_whole_patches(tmp_path: Path) -> None:
    teacher = transformer.open(checkpoint(tmp_path))
    assert teacher.features(torch.zeros(1, 3, 61, 75, dtype=torch.uint8)).shape == (1, WIDTH, 8, 9)
    assert teacher.features(torch.zeros(1, 3, 3, 3, dtype=torch.uint8)).shape == (1, WIDTH, 1, 1)


def test_normalisation_is_the_checkpoints_own(tmp_path: Path) -> None:
    wide = transformer.open(checkpoint(tmp_path / "wide", mean=128 / 255, deviation=0.5))
    narrow = transformer.open(checkpoint(tmp_path / "narrow", mean=128 / 255, deviation=0.25))
    small = pictures() // 4
    torch.testing.assert_close(wide.features(128 + 2 * small), narrow.features(128 + small), rtol=1e-2, atol=1e-2)
    assert not torch.allclose(wide.features(128 + small), narrow.features(128 + small), rtol=1e-2, atol=1e-2)


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    exact, rough = (transformer.open(folder, dtype=kind) for kind in (torch.float32, torch.bfloat16))
    wanted = exact.features(pictures())
    assert 0 < (rough.features(pictures()) - wanted).abs().mean() < 0.05 * wanted.std()
    assert exact.digest != rough.digest


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path / "teacher")
    plain, kept = transformer.open(folder), transformer.open(folder, cache=tmp_path / "cache")
    asked: list[int] = []
    kept.net.register_forward_pre_hook(
        lambda _net, _none, named: asked.append(len(named["pixel_values"])), with_kwargs=True
    )
    for part in (pictures()[:1], pictures(), pictures()):
        torch.testing.assert_close(kept.features(part), plain.features(part), rtol=0, atol=0)
    assert asked == [1, 1]
    again = transformer.open(folder, cache=tmp_path / "cache")
    monkeypatch.setattr(again, "net", None)
    torch.testing.assert_close(again.features(pictures()), plain.features(pictures()), rtol=0, atol=0)


def test_a_teachers_gradient_ends_at_the_student(tmp_path: Path) -> None:
    teacher = transformer.open(checkpoint(tmp_path), WIDTH)
    loss = FeatureLoss(8, WIDTH)
    level = torch.randn(2, 8, 4, 4, requires_grad=True)
    loss(level, teacher.features(pictures())).backward()
    assert level.grad is not None
    assert float(level.grad.abs().sum()) > 0
    assert not any(p.requires_grad for p in teacher.net.parameters())


def _other_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "resnet"}')


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _a_tensor_short(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["layernorm.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _no_normalisation(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _half_a_normalisation(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (shutil.rmtree, r"config\.json: no such file"),
        (_other_family, r"config\.json: model_type 'resnet', expected one of dinov2"),
        (_no_weights, r"teacher: no weights in it \(looked for model\*\.safetensors"),
        (_cut_weights, r"teacher: cannot be loaded"),
        (_a_tensor_short, r"teacher: 1 tensors are missing or of another shape, first layernorm\.weight"),
        (_no_normalisation, r"preprocessor_config\.json: no such file"),
        (_half_a_normalisation, r"preprocessor_config\.json: expected image_mean and image_std"),
    ],
)
def test_a_checkpoint_that_will_not_do_is_named(tmp_path: Path, spoil: Callable[[Path], None], named: str) -> None:
    folder = checkpoint(tmp_path / "teacher")
    spoil(folder)
    with pytest.raises(ModelError, match=named):
        transformer.open(folder)


def test_a_teacher_of_the_wrong_width_names_both(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a teacher of 16 channels, expected 384"):
        transformer.open(checkpoint(tmp_path), 384)


def test_weights_that_overflow_are_named(tmp_path: Path) -> None:
    teacher = transformer.open(checkpoint(tmp_path))
    with torch.no_grad():
        next(teacher.net.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        teacher.features(pictures())
