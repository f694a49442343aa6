"""A vision transformer of the DINO family as a teacher: a checkpoint folder that `transformers` reads, from disk alone.

    config.json               model_type dinov2, dinov2_with_registers or dinov3_vit
    preprocessor_config.json  image_mean, image_std (and rescale_factor, else 1/255)
    model.safetensors         or the shards, or pytorch_model.bin

Weights fine-tuned on endoscopy drop in as long as they keep one of these forms. Which to take: DINOv2. Its code and
weights are Apache-2.0, and a student distilled from them may be released like any other. DINOv3's come under Meta's own
DINOv3 licence, which needs legal review before a student distilled from them leaves the house. Fine-tuned weights carry
their own terms on top, and those of their pictures.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from calibration.teachers.cache import Cache, digest_of
from edge.errors import ModelError

FAMILIES = ("dinov2", "dinov2_with_registers", "dinov3_vit")
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
UNUSED = ("mask_token",)  # only pre-training fills it in


class Teacher:
    """A frozen transformer. `channels` is its features' width, `patch` their stride in pixels. Not thread-safe.

    With a `cache`, features are kept on disk as float16 by digest of the checkpoint and of the picture. (Without one
    they are rounded to float16 as well: an answer never depends on whether it was asked before.)
    """

    def __init__(self, folder: Path, net: nn.Module, cache: Cache | None) -> None:
        config: Any = net.config
        if not isinstance(config.patch_size, int):
            raise ModelError(f"{folder / CONFIG}: patch_size {config.patch_size}, expected one whole number")
        self.folder, self.cache = folder, cache
        self.net = net.eval().requires_grad_(False)
        self.channels, self.patch = int(config.hidden_size), config.patch_size
        self.prefix = 1 + int(getattr(config, "num_register_tokens", 0))  # class token and registers come first
        self.mean, self.deviation = _normalisation(folder / PREPROCESSOR)
        weight = next(net.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.digest = digest_of(_digest_of_files(folder), str(self.dtype))

    def features(self, pictures: Tensor) -> Tensor:
        """RGB uint8 (N, 3, H, W) to the last layer's patch tokens, float32 (N, channels, h, w) on the net's device.

        A picture whose sides are no multiples of `patch` is resized to the nearest that are: h = round(H / patch).
        Raises ModelError when a feature is not a number that float16 holds.
        """
        keys = [digest_of(self.digest, picture.cpu().numpy()) for picture in pictures]
        known = [self.cache.get(key) if self.cache else None for key in keys]
        missing = [index for index, value in enumerate(known) if value is None]
        if missing:
            answers = self._computed(pictures[missing]).half().cpu().numpy()
            if not np.isfinite(answers).all():
                raise ModelError(f"{self.folder}: its features are not finite in float16 (damaged weights?)")
            for index, answer in zip(missing, answers, strict=True):
                known[index] = answer
                if self.cache:
                    self.cache.put(keys[index], answer)
        return torch.from_numpy(np.stack([np.asarray(value) for value in known])).to(self.device).float()

    @torch.no_grad()
    def _computed(self, pictures: Tensor) -> Tensor:
        count, (height, width) = len(pictures), (max(1, round(s / self.patch)) for s in pictures.shape[2:])
        x = pictures.to(self.device).float()
        if x.shape[2:] != (height * self.patch, width * self.patch):
            size = (height * self.patch, width * self.patch)
            x = interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        x = (x - self.mean.to(x)) / self.deviation.to(x)
        tokens: Tensor = self.net(pixel_values=x.to(self.dtype)).last_hidden_state
        if tokens.shape[1] != self.prefix + height * width:
            raise ModelError(
                f"{self.folder}: {tokens.shape[1]} tokens from {height}×{width} patches, "
                f"expected {self.prefix} more than patches"
            )
        return tokens[:, self.prefix :].transpose(1, 2).reshape(count, self.channels, height, width)


def open(
    folder: Path,
    channels: int | None = None,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Teacher:
    """The checkpoint in `folder`; `channels` is the width that is relied upon, where one is.

    Raises ModelError, which names the folder or file, for one that is missing, of another family, without (all of its)
    weights, or of another width.
    """
    family = _json(folder / CONFIG).get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"{folder / CONFIG}: model_type {family!r}, expected one of {', '.join(FAMILIES)}")
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise ModelError(f"{folder}: no weights in it (looked for {', '.join(WEIGHTS)})")
    teacher = Teacher(folder, _loaded(folder).to(device, dtype), Cache(cache) if cache else None)
    if channels is not None and teacher.channels != channels:
        raise ModelError(f"{folder}: a teacher of {teacher.channels} channels, expected {channels}")
    return teacher


def _loaded(folder: Path) -> nn.Module:
    try:
        # Takes seconds, and only this kind of teacher needs it. By name, or mypy would read the whole of it.
        transformers = importlib.import_module("transformers")
    except ImportError as exc:
        raise ModelError(f"transformer teachers need `pip install endoedge[calibration]`: {exc}") from exc
    transformers.utils.logging.disable_progress_bar()
    try:
        net, report = transformers.AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as exc:  # a dozen kinds, from OSError to the weight file reader's own
        raise ModelError(f"{folder}: cannot be loaded: {exc}") from exc
    # The library would fill these with random numbers and go on.
    random = [n for n in report["missing_keys"] if not n.endswith(UNUSED)]
    random += [entry[0] for entry in report["mismatched_keys"]]
    if random:
        raise ModelError(f"{folder}: {len(random)} tensors are missing or of another shape, first {sorted(random)[0]}")
    assert isinstance(net, nn.Module)
    return net


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError(f"{path}: no such file (expected a transformers checkpoint folder)") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return content


def _normalisation(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and deviation of bytes, each (3, 1, 1)."""
    settings = _json(path)
    byte = float(settings.get("rescale_factor", 1 / 255))
    try:
        mean, deviation = (torch.tensor(settings[key]).reshape(3, 1, 1) / byte for key in ("image_mean", "image_std"))
    except (KeyError, TypeError, RuntimeError) as exc:
        raise ModelError(f"{path}: expected image_mean and image_std, three numbers each") from exc
    return mean, deviation


def _digest_of_files(folder: Path) -> str:
    """sha256 of everything that decides the features: configuration, normalisation and weights."""
    digest = hashlib.sha256()
    weights = (path for pattern in WEIGHTS for path in folder.glob(pattern))
    for path in [folder / CONFIG, folder / PREPROCESSOR, *sorted(weights)]:
        digest.update(f"{path.name} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()
