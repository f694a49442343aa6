"""The main job on one machine: moving picture, GStreamer, INT8 model, decisions, outbox, MQTT, and a subscriber.

Starts a broker, the core and the uplink as separate processes, plays the phantom (or a file) in real time, shows what
happens, and ends with a summary.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from edge import status
from edge.capture import phantom
from edge.cli import assemble, broker, numbers, processes
from edge.cli.words import say
from edge.errors import EdgeError, UsageError
from edge.messages import Alert, Message
from edge.status import CoreStatus
from edge.uplink.config import UplinkConfig
from edge.uplink.consumer import Consumer, listening

HELP = "everything at once on this machine: picture to alert"
DEVICE = "demo"
LATEST = 12  # messages shown
DRAIN_WITHIN_S = 15.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, metavar="FILE", help="a video instead of the phantom")
    parser.add_argument("--field", choices=["auto", "whole"], default="auto", help="whole: the file has no border")
    parser.add_argument("--seconds", type=numbers.seconds, metavar="N", help="length (phantom: 30; a file: to its end)")
    parser.add_argument(
        "--fps", type=numbers.count, default=25, metavar="N", help="the phantom's frame rate (default 25)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which phantom (default 1)")
    parser.add_argument(
        "--threads", type=numbers.count, default=1, metavar="N", help="threads of the model (default 1)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep configuration, logs and outbox there")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")


def main(options: argparse.Namespace) -> int:
    if options.source is not None and not options.source.is_file():
        raise UsageError(f"--source {options.source}: there is no such file")
    console = Console(stderr=options.json)
    with kept_folder(options.keep) as folder:
        capture = _capture_table(options, console)
        with broker.running(folder) as port:
            site_file = write_site(folder, capture, port, options.threads)
            result = _play(assemble.load_site(site_file), folder, options, console)
    _print_summary(console, result)
    if options.json:
        print(json.dumps(result))
    return int(result["exit"])


@contextlib.contextmanager
def kept_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="endoedge-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _capture_table(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    if options.source is not None:
        return {"source": "file", "path": str(options.source.resolve()), "rate": "real", "field": options.field}
    table = {"seed": options.seed, "fps": options.fps, "seconds": options.seconds or 30.0}
    render_phantom(phantom.Config(**table), console)
    return {"source": "phantom", **table}


def render_phantom(config: phantom.Config, console: Console) -> None:
    """Into the cache, with a progress bar; nothing to see when it is there already."""
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("rendering the phantom (once)", total=None)
        phantom.prepare(config, lambda done, total: progress.update(bar, completed=done, total=total))


def write_site(
    folder: Path,
    capture: dict[str, Any],
    port: int,
    threads: int = 1,
    pipeline: str = "colonoscopy",
    pipelines: Path | None = None,
) -> Path:
    """An `endoedge.toml` for one desk run, everything inside `folder`."""
    lines = [f'device = "{DEVICE}"', f'pipeline = "{pipeline}"', 'run_dir = "run"']
    if pipelines is not None:
        lines.append(f"pipelines_dir = {json.dumps(str(pipelines))}")
    lines += ["[capture]", *(f"{key} = {json.dumps(value)}" for key, value in capture.items())]
    lines += ["[infer]", 'backend = "onnx"', f"threads = {threads}"]
    lines += ["[outbox]", 'path = "outbox.db"', "max_mib = 64"]
    lines += ["[uplink]", 'host = "127.0.0.1"', f"port = {port}", 'confirm = "subscriber"']
    file = folder / "endoedge.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


class Mailbox:
    """What the subscriber got. Filled by the consumer's thread, read by ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages: list[tuple[Message, float]] = []  # with the latency, ms
        self.duplicates = 0

    def receive(self, message: Message, received_ns: int, duplicate: bool) -> None:
        with self._lock:
            if duplicate:
                self.duplicates += 1
            else:
                self.messages.append((message, (received_ns - message.event.captured_ns) / 1e6))

    @property
    def received(self) -> int:
        """Different messages so far."""
        return len(self.messages)

    def latest(self) -> list[tuple[Message, float]]:
        with self._lock:
            return self.messages[-LATEST:]

    def alert_latencies_ms(self) -> list[float]:
        with self._lock:
            return [latency for message, latency in self.messages if isinstance(message.event, Alert)]


def subscriber(uplink: UplinkConfig, mailbox: Mailbox) -> AbstractContextManager[Consumer]:
    """On its own thread, as the hospital's side would be; subscribed when the block begins."""
    return listening(Consumer(uplink, mailbox.receive, client_id="demo-subscriber", device=DEVICE))


def _play(site: assemble.Site, folder: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    assemble.make_run_dir(site)
    mailbox = Mailbox()
    log = folder / "endoedge.log"
    file = Path(site.file)
    with (
        subscriber(site.uplink, mailbox),
        processes.running("uplink", file, log),
        processes.running("core", file, log) as core_process,
    ):
        watch(site, core_process, mailbox, options.seconds if options.source else None, console)
        exit_code = processes.stop(core_process)
        last = status.read(site.status_path, CoreStatus)
        drained = last is not None and wait_for(lambda: mailbox.received >= last.events)
    if exit_code != 0 or last is None:
        raise EdgeError(last_line(log) or f"the core ended with exit code {exit_code}")
    return _result(last, mailbox, drained)


def wait_for(condition: Any) -> bool:
    deadline = time.monotonic() + DRAIN_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def watch(
    site: assemble.Site,
    core_process: subprocess.Popen[bytes],
    mailbox: Mailbox,
    seconds: float | None,
    console: Console,
) -> None:
    """Show the run until the core ends by itself or `seconds` of picture have passed."""
    until = None
    shown = 0
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while core_process.poll() is None:
            now = status.read(site.status_path, CoreStatus)
            if now is not None:
                live.update(_screen(now, mailbox))
                until = until or time.monotonic() + (seconds or float("inf"))
            if until is not None and time.monotonic() > until:
                return
            if not console.is_terminal:
                shown = _print_new(console, mailbox, shown)
            time.sleep(0.1)


def _print_new(console: Console, mailbox: Mailbox, shown: int) -> int:
    for message, latency in mailbox.messages[shown:]:
        console.print(f"{_clock(message)} {say(message.event)}  {latency:.0f} ms", highlight=False)
        shown += 1
    return shown


def _screen(now: CoreStatus, mailbox: Mailbox) -> Table:
    infer = now.stages.get("infer")
    screen = Table(title=f"EndoEdge demo: {now.state.value}", caption="Not a medical device.", min_width=78)
    screen.add_column("picture")
    screen.add_column("said over MQTT")
    screen.add_column("ms", justify="right")
    facts = [
        f"{now.source.frames} frames, {now.fps:.1f} fps",
        f"{now.source.dropped} dropped",
        f"model {infer.p50_ms:.1f} ms, p99 {infer.p99_ms:.1f}" if infer else "",
        f"view {now.view or '-'}, {now.detections} regions, best {now.best_score:.2f}",
        *(f"{head}: {label}" for head, label in now.classes.items()),
        *(f"{kind} reached" for kind in now.landmarks),
        f"{now.alerts} alerts, {now.events} events",
        now.model.name,
        f"{now.model.precision} on {now.model.backend}",
        now.fault or now.detail,
    ]
    latest = mailbox.latest()
    for row in range(max(len(facts), len(latest))):
        said, latency = ("", "") if row >= len(latest) else (_clock_and_say(latest[row][0]), f"{latest[row][1]:.0f}")
        screen.add_row(facts[row] if row < len(facts) else "", said, latency)
    return screen


def _clock_and_say(message: Message) -> str:
    return f"{_clock(message)} {say(message.event)}"


def _clock(message: Message) -> str:
    return f"{message.event.media_ns / 1e9:6.2f} s"


def _result(last: CoreStatus, mailbox: Mailbox, drained: bool) -> dict[str, Any]:
    latencies = mailbox.alert_latencies_ms()
    complete = drained and last.finished and len(latencies) == last.alerts
    return {
        "frames": last.source.frames,
        "dropped": last.source.dropped,
        "alerts_sent": last.alerts,
        "alerts_received": len(latencies),
        "duplicates": mailbox.duplicates,
        "latency_ms": latency_summary(latencies),
        "model": f"{last.model.name} {last.model.precision} {last.model.sha256[:12]}",
        "exit": 0 if complete else 1,
    }


def latency_summary(latencies_ms: list[float]) -> dict[str, float | None]:
    """p50, p95, p99 and max; nulls when there was nothing to measure."""
    names = ("p50", "p95", "p99", "max")
    if not latencies_ms:
        return dict.fromkeys(names)
    values = np.percentile(latencies_ms, (50, 95, 99, 100))
    return {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}


def _print_summary(console: Console, result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    table = Table(title="EndoEdge demo: summary", show_header=False)
    table.add_row("model", result["model"])
    table.add_row("frames analysed", f"{result['frames']} ({result['dropped']} dropped)")
    table.add_row("alerts", f"{result['alerts_sent']} sent, {result['alerts_received']} received")
    table.add_row("duplicates", f"{result['duplicates']}")
    if latency["p50"] is not None:
        table.add_row(
            "capture to subscriber",
            ", ".join(f"{name} {value:.0f} ms" for name, value in latency.items()),
        )
    verdict = "every committed alert arrived" if result["exit"] == 0 else "[bold red]something is missing"
    table.add_row("verdict", verdict)
    console.print(table)


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    said = [line.removeprefix("endoedge run: ") for line in lines if line.startswith("endoedge run: ")]
    return said[-1] if said else (lines[-1] if lines else "")
