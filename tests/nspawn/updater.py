"""Does one thing that the updater does, and prints what came of it. Run in the box, under the updater's rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gi.repository import GLib

from edge.errors import UpdateError
from edge.update.config import Places
from edge.update.install import Rauc
from tests.support.waiting import wait_for


def opened() -> Rauc:
    """RAUC may be about to be started, which its bus does not know."""
    rauc = Rauc(Places().bus, Path(Places().slots) / "rauc.status")

    def answers() -> bool:
        try:
            return rauc.get("Operation") == "idle"
        except UpdateError:
            return False

    wait_for(answers, "RAUC answers", 20)
    return rauc


def done(what: list[str]) -> object:
    match what:
        case ["install", bundle]:
            return opened().install(Path(bundle))
        case ["activate", slot]:
            opened().activate(slot)
        case ["mark", state, slot]:
            return opened()._call("Mark", GLib.Variant("(ss)", (state, slot)))
        case ["slots"]:
            return {name: [one["state"], one["boot-status"]] for name, one in opened().slots().items()}
        case ["order", name]:
            Path("/run/endoedge-update", name).touch()
        case ["see", path]:
            return Path(path).read_text()
    return "done"


if __name__ == "__main__":
    try:
        print(json.dumps(done(sys.argv[1:])))
    except (UpdateError, OSError) as exc:
        print(json.dumps(f"refused: {exc}"))
