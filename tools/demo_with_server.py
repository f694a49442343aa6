#!/usr/bin/env python3
"""The main job with a report at its end: a procedure in the software colon through the real core (INT8 model), the real
uplink and a real report server on this machine, to a draft; a person edits and signs it in a browser; a PACS gets it.

    tools/demo.sh --with-server                 # prints where to log in, and waits for the signature
    tools/demo.sh --with-server --unattended    # signs by the page's own forms

Needs what `tools/setup.sh` and `tools/setup.sh server` install. Orthanc, a PACS, takes part where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.console import Console
from rich.table import Table

from edge.capture import phantom
from edge.cli import assemble, broker, demo, numbers, processes
from edge.errors import EdgeError
from server import audit, deliveries, listing, reports
from server.config import load
from server.deliveries import Delivery
from server.reports import Key, Version
from server.store.database import Database, open_database
from server.web.pages import place
from tests.support import orthanc
from tests.support.orthanc import Orthanc

ACCOUNT = "clinician"
ROOT = Path(__file__).parents[1]
START_WITHIN_S, DRAFT_WITHIN_S, SENT_WITHIN_S = 60.0, 60.0, 60.0
PATIENT = {"family": "Example", "given": "Erika", "id": "0000123", "issuer": "Example Hospital", "sex": "female"}
SAID = "Mucosa washed; the report was read and found to be right."


class Desk(NamedTuple):
    """What there is on this machine while it lasts."""

    folder: Path
    config: Path  # of the server
    database: Database
    url: str
    password: str
    server: subprocess.Popen[bytes]
    console: Console


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        with demo.kept_folder(options.keep) as folder, _pacs(folder, console) as pacs:
            return _played(options, folder, pacs, console)
    except EdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        console.print("ended")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/demo.sh --with-server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unattended", action="store_true", help="edit and sign by the page's own forms")
    parser.add_argument("--seconds", type=numbers.seconds, default=30.0, metavar="N", help="of picture (default 30)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which phantom (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep everything there")
    parser.add_argument(
        "--pdf", type=Path, metavar="FILE", help="the signed report; default: report-PROCEDURE.pdf here"
    )
    return parser


def _played(options: argparse.Namespace, folder: Path, pacs: Orthanc | None, console: Console) -> int:
    with _server(folder, pacs, console) as desk:
        _procedure(options, desk)
        key = _drafted(desk)
        told = f"\nThe draft is at {desk.url}{place(key)}\naccount {ACCOUNT}, password {desk.password}"
        console.print(told, highlight=False, soft_wrap=True, style="bold")
        if options.unattended:
            console.print("signing it by the page's own forms")
            with _browser(desk) as browser:
                _edit_and_sign(browser, desk, key)
        else:
            told = "Open it in Chromium, log in, change what you like (Enter), and sign (s). Ctrl-C ends all."
            console.print(told, soft_wrap=True)
        _wait(lambda: _newest(desk, key).report.state != "draft", "a signature", None)
        sent = _sent(desk, key)
        pdf = options.pdf or Path(f"report-{key.procedure}.pdf")
        with _browser(desk) as browser:
            pdf.write_bytes(_ok(browser.get(f"{place(key)}/report.pdf")).content)
        return _summary(desk, key, sent, pacs, pdf)


# ------------------------------------------------------------------------------------------------- the parts


@contextlib.contextmanager
def _pacs(folder: Path, console: Console) -> Iterator[Orthanc | None]:
    if reason := orthanc.missing():
        console.print(f"no PACS takes part ({reason}); `apt install orthanc orthanc-dicomweb` brings one")
        yield None
        return
    (folder / "orthanc").mkdir(exist_ok=True)
    with Orthanc(folder / "orthanc") as running:
        console.print(f"a PACS: Orthanc at {running.url}")
        yield running


@contextlib.contextmanager
def _server(folder: Path, pacs: Orthanc | None, console: Console) -> Iterator[Desk]:
    """With an account for a clinician."""
    config, log = folder / "server.toml", folder / "server.log"
    lines = ['data_dir = "server"', 'institution = "Example Hospital"', "[http]", f"port = {broker.free_port()}"]
    if pacs is not None:
        lines += ["[export.pacs]", 'host = "127.0.0.1"', f"port = {pacs.dicom}", f'called = "{orthanc.TITLE}"']
    config.write_text("\n".join(lines) + "\n")
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    account = ("account", "create", ACCOUNT, "--role", "clinician", "--full-name", "Dr. Clara Example")
    _command(config, *account, "--password-file", "-", text=f"{password}\n")
    with log.open("ab") as output:
        server = subprocess.Popen([*_endoedge_server(config), "serve"], stdout=output, stderr=output, cwd=ROOT)
    database = open_database("", load(config).folder)
    try:
        url = _answers(server, log)
        console.print(f"a report server: {url}")
        yield Desk(folder, config, database, url, password, server, console)
    finally:
        processes.stop(server)
        database.close()


def _answers(server: subprocess.Popen[bytes], log: Path) -> str:
    """Where it serves, once it does."""
    found: list[str] = []

    def reached() -> bool:
        if server.poll() is not None:
            raise EdgeError(f"the report server ended: {demo.last_line(log)}")
        found[:] = re.findall(r"^serving (\S+)$", log.read_text(), re.MULTILINE)
        with contextlib.suppress(httpx.TransportError):
            return bool(found) and httpx.get(f"{found[0]}/login").is_success
        return False

    _wait(reached, "the report server", START_WITHIN_S)
    return found[0]


def _procedure(options: argparse.Namespace, desk: Desk) -> None:
    """The box: enrolled, then core and uplink, until the clip has ended and the server has what belongs to it."""
    table = {"seed": options.seed, "fps": 25, "seconds": options.seconds}
    demo.render_phantom(phantom.Config(**table), desk.console)
    box = desk.folder / "box"
    box.mkdir(exist_ok=True)
    with broker.running(box) as port:
        file = demo.write_site(box, {"source": "phantom", **table}, port)
        with file.open("a") as more:
            more.write(f'[uplink.reports]\nurl = "{desk.url}"\nretry_min_s = 0.2\nretry_max_s = 2.0\n')
        code = _command(desk.config, "box", "code", demo.DEVICE).strip()
        _run([sys.executable, "-m", "edge.cli", "enrol", desk.url, code, "-c", str(file)])
        desk.console.print(f"the box {demo.DEVICE} is enrolled; {options.seconds:g} s of the software colon")
        site = assemble.load_site(file)
        assemble.make_run_dir(site)
        mailbox, log = demo.Mailbox(), box / "endoedge.log"
        with (
            demo.subscriber(site.uplink, mailbox),
            processes.running("uplink", file, log),
            processes.running("core", file, log) as core,
        ):
            demo.watch(site, core, mailbox, None, desk.console)
            if processes.stop(core) != 0:
                raise EdgeError(demo.last_line(log) or "the core failed")
            _wait(lambda: _keys(desk), f"the procedure's record at the server ({demo.last_line(log)})", DRAFT_WITHIN_S)


def _drafted(desk: Desk) -> Key:
    key = _keys(desk)[0]

    def there() -> bool:
        with desk.database.read() as connection:
            return reports.newest(connection, key) is not None

    _wait(there, "a draft", DRAFT_WITHIN_S)
    return key


def _keys(desk: Desk) -> list[Key]:
    with desk.database.read() as connection:
        return [one.key for one in listing.touched(connection, 1)]


def _newest(desk: Desk, key: Key) -> Version:
    if desk.server.poll() is not None:
        raise EdgeError(f"the report server ended: {demo.last_line(desk.folder / 'server.log')}")
    with desk.database.read() as connection:
        found = reports.newest(connection, key)
    assert found is not None
    return found


def _sent(desk: Desk, key: Key) -> list[Delivery]:
    """Once nothing of it waits any more; as it is, when that takes too long."""

    def settled() -> list[Delivery]:
        with desk.database.read() as connection:
            return deliveries.of(connection, key)

    with contextlib.suppress(TimeoutError):
        _until(lambda: not any(one.state in ("waiting", "sending") for one in settled()), SENT_WITHIN_S)
    return settled()


# --------------------------------------------------------------------------------------- a browser's part


@contextlib.contextmanager
def _browser(desk: Desk) -> Iterator[httpx.Client]:
    """Logged in as the clinician."""
    with httpx.Client(base_url=desk.url, headers={"Origin": desk.url}, timeout=30) as browser:
        answer = browser.post("/login", data={"name": ACCOUNT, "password": desk.password})
        if answer.status_code != 303:
            raise EdgeError(f"the report server does not let its clinician in: {answer.status_code}")
        yield browser


def _edit_and_sign(browser: httpx.Client, desk: Desk, key: Key) -> None:
    """What the page's forms send: a sentence of one's own, then the signature."""
    form = {"csrf": _csrf(browser, place(key)), "after": str(_newest(desk, key).number)}
    _ok(browser.post(f"{place(key)}/sentences", data={**form, "section": "summary", "text": SAID}))
    form["after"] = str(_newest(desk, key).number)
    _ok(browser.post(f"{place(key)}/sign", data={**form, **PATIENT}))


def _csrf(browser: httpx.Client, path: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', _ok(browser.get(path)).text)
    if found is None:
        raise EdgeError(f"{path}: the page has no form")
    return found[1]


def _ok(answer: httpx.Response) -> httpx.Response:
    if not (answer.is_success or answer.is_redirect):
        raise EdgeError(f"{answer.url} answered {answer.status_code}: {answer.text[:300]}")
    return answer


# ------------------------------------------------------------------------------------------------- the end


def _summary(desk: Desk, key: Key, sent: list[Delivery], pacs: Orthanc | None, pdf: Path) -> int:
    newest = _newest(desk, key)
    with desk.database.read() as connection:
        record = reports.record(connection, key)
    assert record is not None
    verdict = audit.verify(desk.database)
    arrived = pacs is None or (bool(sent) and sent[0].state == "sent")
    good = arrived and not verdict.wrong
    table = Table(title="EndoEdge demo: from the picture to the PACS", show_header=False)
    pictures = sum(1 for _ in record.key_frames())
    table.add_row("procedure", f"{key.procedure}, {record.times.duration_s:.0f} s, {record.state}")
    table.add_row(
        "facts", f"findings: {len(record.findings)}, landmarks: {len(record.landmarks)}, key frames: {pictures}"
    )
    standing = newest.report.standing()
    machine = sum(one.by != "person" for one in standing)
    table.add_row(
        "report", f"{newest.report.state}, {machine} sentences by the machine, {len(standing) - machine} by people"
    )
    table.add_row("signed", ", ".join(f"{one.name}, {one.at}" for one in newest.report.signatures))
    for one in sent:
        table.add_row(f"version {one.number} to {one.target}", f"{one.state}: {one.said}")
    if pacs is not None:
        table.add_row("in Orthanc", _in_orthanc(pacs))
    table.add_row("PDF", str(pdf))
    table.add_row(
        "audit", f"line {verdict.wrong}: {verdict.why}" if verdict.wrong else f"{verdict.head.number} lines hold"
    )
    table.add_row("verdict", "a signed report, where it belongs" if good else "[bold red]something is missing")
    desk.console.print(table)
    return 0 if good else 1


def _in_orthanc(pacs: Orthanc) -> str:
    """Each study's series."""
    told = []
    for study in pacs.get("/studies"):
        about = pacs.get(f"/studies/{study}")
        series = [pacs.get(f"/series/{one}") for one in about["Series"]]
        shown = (f"{one['MainDicomTags']['Modality']} {len(one['Instances'])}" for one in series)
        told.append(f"{about['PatientMainDicomTags']['PatientName']}: {', '.join(sorted(shown))}")
    return "\n".join(told) or "nothing"


def _wait(condition: Callable[[], object], what: str, within_s: float | None) -> None:
    try:
        _until(condition, within_s)
    except TimeoutError as exc:
        raise EdgeError(f"not within {within_s:g} s: {what}") from exc


def _until(condition: Callable[[], object], within_s: float | None) -> None:
    end_s = time.monotonic() + within_s if within_s is not None else float("inf")
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError
        time.sleep(0.2)


def _endoedge_server(config: Path) -> list[str]:
    return [sys.executable, "-m", "server.cli", "--config", str(config)]


def _command(config: Path, *words: str, text: str = "") -> str:
    return _run([*_endoedge_server(config), *words], text)


def _run(command: list[str], text: str = "") -> str:
    """Its output. Raises EdgeError with its last words."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise EdgeError(f"{' '.join(command[1:])}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
