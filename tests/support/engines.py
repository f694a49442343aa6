"""Engines over the fakes of TensorRT and CUDA, made as `endoedge model build` makes them."""

from __future__ import annotations

from collections.abc import Callable

from edge.infer import tensorrt
from edge.infer.trt_build import Progress
from edge.types import Model


def go_on(_: Progress) -> bool:
    return True


def build(config: tensorrt.Config, loaded: Model, progress: Callable[[Progress], bool] = go_on) -> bytes:
    """Built and put into the store. The plan."""
    device = tensorrt.open_device(config)
    try:
        store, key = tensorrt.store(config), tensorrt.key(device, loaded)
        store.require_room(1 << 20)
        built = tensorrt.build(config, loaded, store.timing_cache(key), progress)
        store.put_timing_cache(key, built.timing_cache)
        store.put(key, built.plan, build_s=built.seconds, golden_sha256=loaded.manifest.golden.sha256)
        return built.plan
    finally:
        device.close()
