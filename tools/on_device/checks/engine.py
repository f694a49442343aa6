"""TensorRT's engine: built here by `endoedge model build`, then audited: which layers run in INT8, and is it faster."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from edge.types import Precision
from tools.on_device import Context, Done, Result, failed, passed, released, site

TITLE = "the engine, built and audited"
BUILD_S, AUDIT_S = 1800.0, 300.0
PRECISIONS: tuple[Precision, ...] = ("int8_trt", "fp16_trt")  # the second where the model has it: for the comparison
LIMIT_S = len(PRECISIONS) * BUILD_S + AUDIT_S + 60
AUDIT = "engine-audit.json"


def run(context: Context) -> Result:
    """The inspector's own JSON is kept in the report, too: the audit can be made again from it, anywhere."""
    context.need_jetson("a Jetson's GPU and TensorRT")
    there = released(context, PRECISIONS[0]).manifest.files  # says early when the model has no file for TensorRT
    built: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="endoedge-engine-") as scratch:
        file = str(site.write(context, Path(scratch), "tensorrt"))
        for precision in (name for name in PRECISIONS if name in there):
            begun = time.monotonic()
            command = ("model", "build", "-c", file, "--precision", precision, "--events")
            done = context.endoedge(*command, log=f"engine-build-{precision}.log", limit_s=BUILD_S)
            built[precision] = round(time.monotonic() - begun, 1)
            if done.code != 0:
                return failed(f"the build of {precision} {_fate(done)}", build_s=built)
        arguments = ("model", "audit", "-c", file, "--json", "--save", str(context.folder / "engine"))
        return judge(built, context.endoedge(*arguments, log=AUDIT, limit_s=AUDIT_S))


def judge(built: dict[str, float], audited: Done) -> Result:
    """`built`: seconds by precision. `audited`: the audit, whose last line is one JSON object."""
    figures: dict[str, Any] = {"build s": built}
    if audited.code != 0:
        return failed(f"the audit {_fate(audited)}", **figures)
    try:
        said = json.loads(audited.output.splitlines()[-1])
        shares = {what: row["share"] for what, row in said["precisions"].items()}
        figures |= {"engine ms": said["ms"], "share of the time": shares, "use": said["use"]}
        figures |= {f"{row['head']}: {row['measure']}": row["value"] for row in said["agreement"]}
        why = str(said["why"])
    except (IndexError, ValueError, KeyError, TypeError):
        return failed(f"the audit's last line is not the object that was expected; see {AUDIT}", **figures)
    if not shares.get("INT8"):
        return failed("no layer runs in INT8", **figures)
    return passed(f"{shares['INT8']:.0%} of the time in INT8; {why}", **figures)


def _fate(done: Done) -> str:
    last = (done.output.strip().splitlines() or ["said nothing"])[-1]
    return "ran too long" if done.code == -1 else f"ended with code {done.code}: {last}"
