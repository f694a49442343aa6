"""A publisher of releases, its web server, and one box on a desk that sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edge.updating import Answer, UpdateStatus
from tests.support.static_server import StaticServer
from tools.ota import desk, releases
from tools.ota.desk import Desk
from tools.ota.releases import Publisher
from tools.ota.steady import Steady

WITHIN_S = 60.0
TRIAL_S = 12.0


class Stage:
    """Owner: the test's thread. A core and an uplink that do well are said to run."""

    def __init__(self, folder: Path, server: StaticServer, publisher: Publisher, consent: bool = False) -> None:
        self.publisher, self.server = publisher, server
        self.installed = releases.thin_folder(folder / "installed", "1.0.0")
        site = desk.site(server.url, consent=consent)
        self.box = Desk(folder / "box", publisher.ca, publisher.root, self.installed, site, {}, TRIAL_S)
        self.steady = Steady(self.box.run_dir, "1.0.0")
        self.wrong = ""

    def wait(self, condition: Callable[[UpdateStatus], object], what: str, within_s: float = WITHIN_S) -> UpdateStatus:
        def so() -> bool:
            self.carried_out()
            now = self.box.said()
            return now is not None and now.pid == self.box.processes["update"].pid and bool(condition(now))

        self.box.wait(so, what, within_s)
        said = self.box.said()
        assert said is not None
        return said

    def carried_out(self) -> bool:
        self.box.carry_out(lambda: self.steady.test(self.wrong))
        self.steady.runs(self.box.version)
        return True

    def runs(self, version: str) -> UpdateStatus:
        return self.wait(lambda now: now.version == version and now.state == "idle", f"{version} runs and holds")

    def left(self, version: str) -> UpdateStatus:
        """It was tried, and another one runs again."""
        self.wait(lambda now: now.version == version, f"{version} runs")
        return self.wait(lambda now: now.version != version and now.state == "idle", f"{version} is left")

    def asked(self, *words: str, source: str = "") -> Answer:
        verb, *version = words
        id_ = self.box.ask(verb, *version, source=source)  # type: ignore[arg-type]
        self.wait(lambda _now: self.box.answer(id_), f"an answer to {verb}")
        found = self.box.answer(id_)
        assert found is not None
        return found

    @property
    def history(self) -> str:
        return "".join(file.read_text() for file in sorted((self.box.state / "history").glob("*.log")))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`endoedge update`, as a person types it; orders are carried out meanwhile."""
        command = self._typed(words)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.wait(lambda _now: process.poll() is not None, f"endoedge update {' '.join(words)}")
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """... of which nothing follows."""
        return subprocess.run(self._typed(words), capture_output=True, text=True, check=False)

    def _typed(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "edge.cli", "update", *words, "-c", str(self.box.file)]
