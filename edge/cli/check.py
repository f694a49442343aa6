"""Prove that this box can work before it has to: configuration, machine, model, GStreamer, a frame, broker, outbox."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge import golden, status
from edge.capture import gst
from edge.cli import assemble, targets
from edge.cli.assemble import Site
from edge.cli.targets import Row
from edge.errors import CaptureError, ConfigError, EdgeError, InferenceError, UplinkError
from edge.outbox import Outbox
from edge.status import CoreStatus
from edge.types import Backend, Field, Frame, Model, SignalState
from edge.uplink.credentials import load as load_credentials
from edge.uplink.mqtt import Connected, Connection, LinkDownError, Lost

HELP = "prove that configuration, model, GStreamer, broker and outbox work"

# What the CPU path is made of, and the Debian package that brings it.
ELEMENTS = {
    "filesrc": "libgstreamer1.0-0",
    "decodebin": "gstreamer1.0-plugins-base",
    "videocrop": "gstreamer1.0-plugins-good",
    "videoscale": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "appsink": "gstreamer1.0-plugins-base",
    "deinterlace": "gstreamer1.0-plugins-good",
    "jpegenc": "gstreamer1.0-plugins-good",
    "rsvgoverlay": "gstreamer1.0-plugins-bad",
    "v4l2src": "gstreamer1.0-plugins-good",
    "matroskademux": "gstreamer1.0-plugins-good",
    "qtdemux": "gstreamer1.0-plugins-good",
    "avdec_h264": "gstreamer1.0-libav",
}
BROKER_WITHIN_S = 5.0
LIVE_WITHIN_S = 12.0  # a search for the field that finds nothing says so after ten
RUNNING_NS = 5_000_000_000  # a status that was written so lately is of a running core


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def main(options: argparse.Namespace) -> int:
    rows = check(options.config)
    good = all(row.good for row in rows)
    if options.json:
        print(json.dumps({"ok": good, "checks": [row._asdict() for row in rows], "exit": 0 if good else 1}))
    else:
        _print(rows)
    return 0 if good else 1


def check(file: Path) -> list[Row]:
    """All rows, in the order in which a start needs them; later ones are left out when they cannot be tried."""
    rows = [_gstreamer()]
    try:
        site = assemble.load_site(file)
    except ConfigError as exc:
        return [*rows, Row("configuration", False, str(exc), "mend the named key")]
    rows.append(Row("configuration", True, f"{file}, pipeline {site.pipeline.name}"))
    rows += targets.rows(site.config)
    loaded, model_rows = _model(site)
    rows += model_rows
    if loaded is not None:
        rows.append(_try("capture", lambda: _capture(site, loaded.size), "see [capture] and docs/capture.md"))
    rows.append(_try("outbox", lambda: _outbox(site), "make the folder writable for the service, or free disk space"))
    rows.append(_try("broker", lambda: _broker(site), "see [uplink] in the configuration; is the broker running?"))
    return rows


def _try(what: str, action: Callable[[], str], mend: str) -> Row:
    try:
        return Row(what, True, action())
    except (EdgeError, OSError) as exc:
        return Row(what, False, str(exc), mend)


def _gstreamer() -> Row:
    try:
        missing = gst.missing_elements(list(ELEMENTS))
    except CaptureError as exc:
        return Row("GStreamer", False, str(exc), "apt install python3-gst-1.0")
    if missing:
        packages = " ".join(sorted({ELEMENTS[name] for name in missing}))
        return Row("GStreamer", False, f"missing elements: {', '.join(missing)}", f"apt install {packages}")
    return Row("GStreamer", True, gst.version())


def _capture(site: Site, size: tuple[int, int]) -> str:
    """What the source says of itself once it is live; a running core is asked instead, for it has the device."""
    running = status.read(site.status_path, CoreStatus)
    if running is not None and not running.finished and time.monotonic_ns() - running.updated_ns < RUNNING_NS:
        if running.state is not SignalState.LIVE:
            raise CaptureError(f"the running core says {running.state.value}: {running.detail}")
        return f"the running core is live, {running.fps:.1f} frames a second"
    source = assemble.open_source(site, size)
    state, detail, deadline = SignalState.STARTING, "", time.monotonic() + LIVE_WITHIN_S
    try:
        while time.monotonic() < deadline:
            item = source.next(0.25)
            if isinstance(item, Frame):
                item.release()
                return source.describe()
            state, detail = item.state, item.detail
            if item.final:
                break
    finally:
        source.close()
    raise CaptureError(f"{state.value} after {LIVE_WITHIN_S:.0f} s: {detail or source.describe()}")


def _model(site: Site) -> tuple[Model | None, list[Row]]:
    mend = "install the released model again; never edit its folder"
    try:
        loaded = assemble.load_model(site)
    except EdgeError as exc:
        return None, [Row("model", False, str(exc), mend)]
    rows = [Row("model", True, f"{loaded.manifest.name} {loaded.precision}, sha256 {loaded.sha256[:12]}…")]
    try:
        backend = assemble.open_backend(site, loaded)
        rows.append(Row("null frame", True, _null_frame(site, loaded, backend)))
    except EdgeError as exc:
        lacks = isinstance(exc, InferenceError) and site.config.infer.get("backend") == "tensorrt"
        return loaded, [*rows, Row("null frame", False, str(exc), "endoedge model build" if lacks else mend)]
    rows.append(_golden(loaded, backend))
    rows.append(_processor(loaded, site))
    return loaded, rows


def _golden(loaded: Model, backend: Backend) -> Row:
    """Does the model answer here as it did where it was measured?"""
    if backend.name == "null":
        return Row("golden vectors", True, "not compared: the null backend runs no model")
    try:
        found = golden.differences(loaded, backend)
    except EdgeError as exc:
        return Row("golden vectors", False, str(exc), "install the released model again; never edit its folder")
    wrong = [difference for difference in found if not difference.fits]
    mend = "this is not the model that was measured: use another backend or processor" if wrong else ""
    return Row("golden vectors", not wrong, "; ".join(map(str, wrong or found)), mend)


def _null_frame(site: Site, loaded: Model, backend: Backend) -> str:
    """One black frame through model and heads: nothing may be found in it."""
    width, height = loaded.size
    black = np.zeros((height, width, 4), np.uint8)
    corners = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    field = Field(x=0, y=0, width=width, height=height, outline=corners)
    heads = assemble.open_heads(site, loaded)
    begun = time.perf_counter()
    outputs = backend.infer(black)
    spent_ms = (time.perf_counter() - begun) * 1e3
    findings = heads.decode(outputs, Frame(seq=1, image=black, captured_ns=0, media_ns=0, field=field))
    if findings.detections:
        raise EdgeError(f"the model finds {findings.detections[0].label} in a black picture")
    return f"{backend.name}: {spent_ms:.1f} ms, nothing found in black"


def _processor(loaded: Model, site: Site) -> Row:
    """U8 x S8 products saturate in 16 bits on x86 without VNNI: results there are not those that were measured."""
    flags = Path("/proc/cpuinfo").read_text()
    if site.config.infer.get("backend") != "onnx" or loaded.precision != "int8" or "GenuineIntel" not in flags:
        return Row("processor", True, "no known INT8 trap")
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        return Row("processor", True, "INT8 products are exact (VNNI)")
    return Row(
        "processor", False, "no VNNI: INT8 products can saturate", "use a processor with VNNI, or the fp32 model"
    )


def _outbox(site: Site) -> str:
    try:
        site.outbox_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise EdgeError(f"{site.outbox_path.parent}: cannot be made: {exc.strerror}") from exc
    with _as_owner_of(site.outbox_path.parent):
        outbox = Outbox.open(site.outbox_path, site.config.device, site.config.outbox.max_mib * 2**20)
        outbox.close()
    return f"{site.outbox_path}, at most {site.config.outbox.max_mib} MiB"


@contextlib.contextmanager
def _as_owner_of(folder: Path) -> Iterator[None]:
    """What root makes here, the service could not write: so root acts as the folder's owner, with the units' umask."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    before, umask = os.getegid(), os.umask(0o007)
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before)
        os.umask(umask)


def _broker(site: Site) -> str:
    """A whole MQTT 5 greeting with the configured credentials; nothing is published."""
    connection = Connection(site.uplink, load_credentials(site.uplink), f"{site.config.device}-check")
    try:
        connection.open()
        deadline = time.monotonic() + BROKER_WITHIN_S
        while time.monotonic() < deadline:
            for happening in connection.step(0.1):
                if isinstance(happening, Lost):
                    raise UplinkError(happening.fault.text)
                if isinstance(happening, Connected):
                    tls = "with TLS" if site.uplink.tls else "without TLS"
                    return f"{site.uplink.host}:{site.uplink.port} accepts us, {tls}"
    except LinkDownError as exc:
        raise UplinkError(str(exc)) from exc
    finally:
        connection.close()
    raise UplinkError(f"{site.uplink.host}:{site.uplink.port} takes the connection but does not answer MQTT")


def _print(rows: list[Row]) -> None:
    table = Table(title="endoedge check")
    for column in ("", "what", "found", "how to mend it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row("[green]ok" if row.good else "[bold red]no", row.what, escape(row.found), escape(row.mend))
    Console().print(table)
