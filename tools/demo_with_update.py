#!/usr/bin/env python3
"""A release comes while the box works: built, signed and published here, seen by the box over HTTP, agreed to, written
to the slot that does not run, started when no procedure goes on, tried out, and kept.

    sudo tools/demo.sh --update                  # builds a whole release of this checkout: some minutes
    sudo tools/demo.sh --update --image FILE     # ... of `tools/release.sh build --hardware endoedge-desk`

All parts are the real ones but systemd, in whose place stand a few lines (tools/ota/desk.py). Needs root, for the box
mounts its releases, and what `tools/setup.sh dev` installs.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edge import __version__, status
from edge.capture import phantom
from edge.cli import assemble, broker, demo
from edge.cli.demo import Mailbox
from edge.cli.words import say
from edge.errors import EdgeError, UpdateError
from edge.messages import Alert
from edge.status import CoreStatus
from edge.updating import UpdateStatus
from tests.support.static_server import StaticServer
from tools.ota import desk, releases
from tools.ota.desk import Desk
from tools.ota.releases import HARDWARE, ROOT, Publisher
from tools.release import image as images

PARTS = {"core": ("run", "core"), "uplink": ("run", "uplink")}
SECONDS = 30.0
AWAY_S = 2.0  # of no view of the inside, and the demo's procedure is over; on a box it is pipelines/colonoscopy.toml's
TRIAL_S, HEALTHY_S = 240.0, 10.0
LIVE_WITHIN_S, SWITCH_WITHIN_S, HOLD_WITHIN_S = 60.0, 120.0, 300.0


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        if why := desk.missing():
            raise UpdateError(f"tools/demo.sh --update: {why}")
        with demo.kept_folder(options.keep) as folder:
            return _play(folder, options.image, console)
    except EdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        console.print("ended")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/demo.sh --update", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="a release that was built before")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep configuration, logs, repository and slots there")
    return parser


def _play(folder: Path, image: Path | None, console: Console) -> int:
    demo.render_phantom(phantom.Config(seconds=SECONDS), console)
    publisher = Publisher(folder / "publisher")
    image = image or _build(folder, console)
    version = images.release(image).version
    with (
        StaticServer(publisher.repository) as server,
        broker.running(folder) as port,
        Desk(
            folder / "box",
            publisher.ca,
            publisher.root,
            releases.thin_folder(folder / "installed", __version__),
            _site(folder, port, server.url),
            PARTS,
            TRIAL_S,
        ) as box,
    ):
        scene = Scene(box, console)
        with demo.subscriber(assemble.load_site(box.file).uplink, scene.mailbox):
            return scene.play(publisher, image, version)


def _build(folder: Path, console: Console) -> Path:
    """A whole release of this checkout, one number on."""
    major, minor, patch = (int(number) for number in __version__.split("."))
    version = f"{major}.{minor}.{patch + 1}"
    console.print(f"building release {version} of this checkout; that takes some minutes")
    command = [sys.executable, "-m", "tools.release", "build", "--version", version, "--hardware", HARDWARE, "--dirty"]
    command += ["--to", str(folder / "built"), "--changes", "what this checkout has"]
    command += ["--clinical", "None: the same model, heads and rules."]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise UpdateError("the release could not be built")
    return folder / "built" / f"endoedge-{version}.img"


def _site(folder: Path, port: int, address: str) -> str:
    pipelines = folder / "pipelines"
    shutil.copytree(ROOT / "pipelines", pipelines)
    rules = pipelines / "colonoscopy.toml"
    rules.write_text(rules.read_text().replace("stop_s = 30.0", f"stop_s = {AWAY_S}"))
    return (
        f'device = "{demo.DEVICE}"\npipeline = "colonoscopy"\npipelines_dir = "{pipelines}"\n'
        f'models_dir = "{folder}/box/run/endoedge-slots/current/share/models"\n'
        f'[capture]\nsource = "phantom"\nseconds = {SECONDS}\nloop = true\n'
        f'[outbox]\npath = "{folder}/outbox.db"\nmax_mib = 64\n'
        f'[uplink]\nhost = "127.0.0.1"\nport = {port}\nconfirm = "subscriber"\n'
        f'[update]\nurl = "{address}"\n[update.gate]\nhealthy_s = {HEALTHY_S}'
    )


class Scene:
    """One box, and what is shown of it. Owner: one thread."""

    def __init__(self, box: Desk, console: Console) -> None:
        self.box, self.mailbox, self._console = box, Mailbox(), console
        self._shown = 0
        self._test: subprocess.Popen[bytes] | None = None
        self._stopped_s = self._live_s = 0.0
        box.switching = self._switching

    def play(self, publisher: Publisher, image: Path, version: str) -> int:
        box, before = self.box, __version__
        box.boot()
        self._until(functools.partial(self._live, before), f"{before} is live", LIVE_WITHIN_S)
        self._until(lambda: self._alerts() > 0, "an alert", LIVE_WITHIN_S)
        self._say(f"{before} runs; {image.name} is signed and published as {version}")
        publisher.publish(publisher.bundle(image, version), version, **_notes(image))
        alerts = self._alerts()
        self._command("check")
        self._command("install")
        self._command("install", version)
        self._until(lambda: box.version == version, f"{version} is started", SWITCH_WITHIN_S)
        self._until(functools.partial(self._live, version), f"{version} is live", LIVE_WITHIN_S)
        self._live_s = time.monotonic()
        self._command("status")
        self._until(lambda: self._updater().state == "idle", f"{version} holds", HOLD_WITHIN_S)
        held, now_alerts = box.version == version, self._alerts()
        self._until(lambda: self._alerts() > now_alerts, "an alert of the new release", LIVE_WITHIN_S)
        self._command("check")
        self._command("status")
        self._command("history")
        return self._summary(before, version, alerts, held)

    def _summary(self, before: str, version: str, alerts: int, held: bool) -> int:
        table = Table(title="EndoEdge demo: update", show_header=False)
        table.add_row("from, to", f"{before} (as installed), {version} (slot {self.box.booted})")
        table.add_row("stop of the old to live new", f"{self._live_s - self._stopped_s:.1f} s")
        table.add_row("alerts", f"{alerts} before, {self._alerts() - alerts} since; {self.mailbox.duplicates} twice")
        table.add_row("verdict", "the new release holds" if held else f"it went back: {self._updater().trouble}")
        self._console.print(table)
        return 0 if held else 1

    # ------------------------------------------------------------------------------------------ small things

    def _alerts(self) -> int:
        return sum(isinstance(message.event, Alert) for message, _ in list(self.mailbox.messages))

    def _live(self, version: str) -> bool:
        now = status.read(self.box.run_dir / "status.json", CoreStatus)
        return now is not None and now.version == version and now.fps > 0

    def _updater(self) -> UpdateStatus:
        now = self.box.said()
        if now is None:
            raise UpdateError("the updater says nothing")
        return now

    def _switching(self) -> None:
        self._stopped_s = time.monotonic()
        self._say("the box switches: no procedure goes on")

    def _until(self, condition: Callable[[], Any], what: str, within_s: float) -> None:
        def so() -> bool:
            self.box.carry_out(self._selftest)
            self._show()
            return bool(condition())

        self.box.wait(so, what, within_s)

    def _selftest(self) -> None:
        """As endoedge-selftest.service does."""
        self._say("the self-test of the new release: golden vectors, phantom, broker, disk")
        command = [str(self.box.running / "current/venv/bin/python"), "-m", "edge.cli", "check", "--deep", "--beside"]
        command += ["--to", str(self.box.run_dir / "selftest.json"), "-c", str(self.box.file)]
        with (self.box.root / "selftest.log").open("ab") as log:
            self._test = subprocess.Popen(command, stdout=log, stderr=log)

    def _command(self, *words: str) -> None:
        """As a person types it; orders are carried out meanwhile."""
        self._say(f"$ endoedge update {' '.join(words)}")
        command = [sys.executable, "-m", "edge.cli", "update", *words, "-c", str(self.box.file)]
        done: list[subprocess.CompletedProcess[str]] = []
        ask = functools.partial(subprocess.run, command, capture_output=True, text=True, check=False)
        thread = threading.Thread(target=lambda: done.append(ask()))
        thread.start()
        self._until(lambda: done, f"endoedge update {words[0]}", SWITCH_WITHIN_S)
        for line in (done[0].stderr + done[0].stdout).splitlines():
            self._console.print(f"  {line}", markup=False)
        if done[0].returncode:
            raise UpdateError(f"endoedge update {words[0]} failed")

    def _show(self) -> None:
        for message, latency in self.mailbox.messages[self._shown :]:
            self._console.print(f"    {say(message.event)}  {latency:.0f} ms", markup=False)
            self._shown += 1

    def _say(self, words: str) -> None:
        self._console.print(words, style="bold", markup=False)


def _notes(image: Path) -> dict[str, Any]:
    found = images.release(image)
    return {"changes": found.changes, "clinical": found.clinical, "content": found.content}


if __name__ == "__main__":
    sys.exit(main())
