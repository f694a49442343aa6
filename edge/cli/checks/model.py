"""The model on this machine: loaded, asked, and held against what it answered where it was released."""

from __future__ import annotations

import time

import numpy as np

from edge import golden
from edge.cli import assemble
from edge.cli.checks import phantom
from edge.cli.checks.machine import processor
from edge.cli.site import Site
from edge.console.report import Row
from edge.errors import EdgeError, InferenceError
from edge.types import Backend, Field, Frame, Model

MEND = "install the released model again; never edit its folder"


def rows(site: Site, deep: bool) -> tuple[Model | None, list[Row]]:
    """`deep`: the phantom, too. None: there is no model to capture for."""
    try:
        loaded = assemble.load_model(site)
    except EdgeError as exc:
        return None, [Row("model", False, str(exc), MEND)]
    told = [Row("model", True, f"{loaded.manifest.name} {loaded.precision}, sha256 {loaded.sha256[:12]}")]
    try:
        backend = assemble.open_backend(site, loaded)
    except EdgeError as exc:
        lacks = isinstance(exc, InferenceError) and site.config.infer.get("backend") == "tensorrt"
        return loaded, [*told, Row("null frame", False, str(exc), "endoedge model build" if lacks else MEND)]
    try:
        told += [_null_frame(site, loaded, backend), _golden(loaded, backend), processor(loaded, site)]
        if deep:
            told.append(phantom.row(site, loaded, backend))
    finally:
        backend.close()
    return loaded, told


def _null_frame(site: Site, loaded: Model, backend: Backend) -> Row:
    """One black frame through model and heads: nothing may be found in it."""
    width, height = loaded.size
    black = np.zeros((height, width, 4), np.uint8)
    corners = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    field = Field(x=0, y=0, width=width, height=height, outline=corners)
    try:
        heads = assemble.open_heads(site, loaded)
        begun = time.perf_counter()
        outputs = backend.infer(black)
        spent_ms = (time.perf_counter() - begun) * 1e3
    except EdgeError as exc:
        return Row("null frame", False, str(exc), MEND)
    found = heads.decode(outputs, Frame(seq=1, image=black, captured_ns=0, media_ns=0, field=field)).detections
    if found:
        return Row("null frame", False, f"the model finds {found[0].label} in a black picture", MEND)
    return Row("null frame", True, f"{backend.name}: {spent_ms:.1f} ms, nothing found in black")


def _golden(loaded: Model, backend: Backend) -> Row:
    """Does the model answer here as it did where it was measured?"""
    if backend.name == "null":
        return Row("golden vectors", None, "not tried: the null backend runs no model")
    try:
        found = golden.differences(loaded, backend)
    except EdgeError as exc:
        return Row("golden vectors", False, str(exc), MEND)
    wrong = [difference for difference in found if not difference.fits]
    if wrong:
        mend = "this is not the model that was measured: use another backend or processor"
        return Row("golden vectors", False, "; ".join(map(str, wrong)), mend)
    nearest = max(found, key=lambda one: one.largest / one.tolerance.most if one.tolerance.most else 0.0)
    return Row("golden vectors", True, f"all {len(found)} outputs fit; nearest to its limit is {nearest}")
