"""TensorRT's engine: built here by `endoedge model build`, then audited: which layers run in INT8, and is it faster."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.on_device import Context, Done, Result, failed, passed, released, site

TITLE = "the engine, built and audited"
BUILD_S, AUDIT_S = 2400.0, 300.0
LIMIT_S = BUILD_S + AUDIT_S + 60


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's GPU and TensorRT")
    released(context, "int8_trt")  # says early when the model has no such file
    with tempfile.TemporaryDirectory(prefix="endoedge-engine-") as scratch:
        file = str(site.write(context, Path(scratch), "tensorrt"))
        begun = time.monotonic()
        built = context.endoedge("model", "build", "-c", file, log="engine-build.log", limit_s=BUILD_S)
        build_s = time.monotonic() - begun
        if built.code != 0:
            return failed(f"the build {_fate(built)}", **{"build s": round(build_s)})
        audited = context.endoedge("model", "audit", "-c", file, "--json", log="engine-audit.json", limit_s=AUDIT_S)
    return judge(build_s, audited)


def judge(build_s: float, audited: Done) -> Result:
    """`audited`: the audit, whose last line is one JSON object."""
    figures: dict[str, Any] = {"build s": round(build_s)}
    if audited.code != 0:
        return failed(f"the audit {_fate(audited)}", **figures)
    try:
        said = json.loads(audited.output.splitlines()[-1])
    except (IndexError, ValueError):
        return failed("the audit ended without a JSON object on its last line; see engine-audit.json", **figures)
    figures |= {name: value for name, value in said.items() if isinstance(value, str | int | float | bool)}
    return passed(f"built in {build_s:.0f} s; the audit is in engine-audit.json", **figures)


def _fate(done: Done) -> str:
    last = (done.output.strip().splitlines() or ["said nothing"])[-1]
    return "ran too long" if done.code == -1 else f"ended with code {done.code}: {last}"
