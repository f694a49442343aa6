"""Updates: what is offered, what is being done, and a person's word on it (docs/update.md)."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from edge import audit, status, updating
from edge.audit import Entry
from edge.cli.site import Site, read_site
from edge.errors import UpdateError, UsageError
from edge.updating import STALE_NS, STATUS, Answer, UpdateStatus, Verb

HELP = "updates: status, check, download, install, confirm, rollback, history"
LOOK_S = 0.3
ANSWER_WITHIN_S = 3600.0  # of a slow line's bundle
TAKEN_WITHIN_S = 10.0
HISTORY_LINES = 30
NOBODY = "the updater does not run: systemctl status endoedge-update"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "verb",
        choices=["status", "check", "download", "install", "confirm", "rollback", "history"],
        nargs="?",
        default="status",
    )
    parser.add_argument("version", nargs="?", default="", help="of the release: with `install` this is your consent")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="of a stick, instead of update.url")
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="the status as one line of JSON")


def main(options: argparse.Namespace) -> int:
    site = read_site(options.config)
    if options.verb == "status":
        return _status(site, options.json)
    if options.verb == "history":
        return _history(site)
    return _wish(site, options)


def _status(site: Site, as_json: bool) -> int:
    now = read_status(site)
    if as_json:
        print(msgspec.json.encode(now).decode())
    else:
        for line in page(now):
            print(line)
    return 0


def read_status(site: Site) -> UpdateStatus:
    """Raises UpdateError: there is none of now."""
    now = status.read(site.run_dir / STATUS, UpdateStatus)
    if now is None or time.monotonic_ns() - now.updated_ns > STALE_NS:
        raise UpdateError(NOBODY)
    return now


def page(now: UpdateStatus) -> Iterator[str]:
    """For people."""
    slot = "as it was installed" if now.slot == "F" else f"slot {now.slot}"
    yield f"runs       {now.version} ({slot}), channel {now.channel}"
    yield f"state      {now.state}" + (f": {now.percent} % {now.detail}" if now.detail else "")
    if now.offer is not None:
        yield f"offered    {now.offer.version}, {now.offer.bytes >> 20} MiB, new in it: {now.offer.content}"
        yield from _notes("changes", now.offer.changes)
        yield from _notes("clinical", now.offer.clinical)
    for one in now.obstacles:
        yield f"{'waits' if one.waits else 'never':<11}{one.words}"
    if now.trial is not None:
        left = max(0.0, now.trial.until_s - time.clock_gettime(time.CLOCK_BOOTTIME))
        yield f"trial      healthy for {now.trial.healthy_s:.0f} of {now.trial.needed_s:.0f} s, {left:.0f} s are left"
        if now.trial.lacks:
            yield f"lacks      {now.trial.lacks}"
    if now.refused:
        yield f"refused    {', '.join(now.refused)}"
    cost = f", {now.checked_bytes} bytes" if now.checked_bytes else ""
    yield f"checked    {now.checked_at or 'not yet'}{cost}{'' if now.clock_trusted else ' (the clock is not trusted)'}"
    if now.trouble:
        yield f"trouble    {now.trouble}"


def _notes(what: str, text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    yield from (f"{what if number == 0 else '':<11}{line}" for number, line in enumerate(lines))


def _history(site: Site) -> int:
    folder = _places(site).state / "history"
    if not audit.files(folder):
        print("nothing was done yet")
        return 0
    lines = [line for file in audit.files(folder) for line in file.read_bytes().splitlines()]
    for line in lines[-HISTORY_LINES:]:
        entry = msgspec.json.decode(line, type=Entry)
        doubt = "" if entry.trusted else " (clock not trusted)"
        print(f"{entry.at}{doubt}  {entry.who:<10} {entry.command}: {entry.outcome}")
    print(audit.verify(folder))
    return 0


def _wish(site: Site, options: argparse.Namespace) -> int:
    verb: Verb = options.verb
    if options.version and verb not in ("install", "download"):
        raise UsageError(f"{verb} takes no version")
    source = ""
    if options.source is not None:
        if verb not in ("check", "download", "install"):
            raise UsageError(f"{verb} takes no folder")
        if not (options.source / "metadata").is_dir():
            raise UpdateError(f"{options.source}: no repository: expected a folder `metadata` in it")
        source = str(options.source.resolve())
    now = read_status(site)
    if verb == "install" and not options.version and not source:
        return _what_is_offered(now)
    id_ = updating.wish(_places(site).wishes, verb, _who(), options.version, source)
    answer = _follow(site, id_)
    print(answer.words, file=sys.stdout if answer.ok else sys.stderr)
    if options.json:
        print(msgspec.json.encode(answer).decode())
    return 0 if answer.ok else 1


def _what_is_offered(now: UpdateStatus) -> int:
    if now.offer is None:
        raise UpdateError("nothing newer is offered; `endoedge update check` looks again")
    for line in page(now):
        print(line)
    print(f"\nTo agree to it: endoedge update install {now.offer.version}")
    return 0


def _follow(site: Site, id_: str) -> Answer:
    """Says what is done until there is an answer. ^C ends the waiting, not the work."""
    console = Console(stderr=True, markup=False, highlight=False)
    began_s = time.monotonic()
    words = "asked"
    with console.status(words) as shown:
        while time.monotonic() - began_s < ANSWER_WITHIN_S:
            time.sleep(LOOK_S)
            now = status.read(site.run_dir / STATUS, UpdateStatus)
            answer = next((one for one in now.answers if one.id == id_), None) if now else None
            if answer is None and time.monotonic() - began_s > TAKEN_WITHIN_S:
                if words != "asked":
                    return Answer(id=id_, done=True, words="the updater began anew meanwhile: endoedge update status")
                raise UpdateError(NOBODY)
            if answer is not None and answer.done:
                return answer
            if answer is not None and answer.words != words:
                words = answer.words
                shown.update(words)
                if not console.is_terminal:
                    print(words, file=sys.stderr)
    raise UpdateError("no end within an hour: endoedge update status")


class _Places(msgspec.Struct, frozen=True):
    """Of `[update.places]`, what a person's command has to know."""

    state: Path = Path("/var/lib/endoedge-update")
    wishes: Path = updating.WISHES


def _places(site: Site) -> _Places:
    base = Path(site.file).resolve().parent
    table = site.config.update.get("places", {})
    found = {name: base / str(table[name]) for name in ("state", "wishes") if isinstance(table, dict) and name in table}
    return _Places(**found)


def _who() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()
