#!/usr/bin/env python3
"""Pictures of the review page for the documents: the real server, the software colon's procedure, Debian's Chromium.

python -m tools.review_screenshots [docs/images]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge.procedure import Interruption, Record
from server import edits, reports
from server.keep import Folder
from server.reports import Key
from server.web.pages import place
from tests.support import desk_of_reports as desk
from tests.support.report_service import ReportService
from tools import export_example

CHROMIUM = "/usr/bin/chromium"
NAMES = (("Muster", "Alex"), ("Beispiel", "Kim"), ("Sample", "Robin"), ("Demo", "Sam"), ("Ejemplo", "Toni"))
WIDE, TOWER = (1440, 900), (1920, 1080)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    folder: Path = parser.parse_args(arguments).folder
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as made, ReportService(Path(made) / "server", worker=False) as service:
        key = fill(service)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            shoot(browser, service.url, key, folder)
            browser.close()
    return 0


def fill(service: ReportService) -> Key:
    """A day's list; the report that is looked at is its first."""
    database, keep = service.database, Folder(service.data / "frames")
    desk.people(database)
    for device, seen_at in (("example-box", None), ("theatre-2", "2026-01-01T08:00:00.000000Z")):
        desk.box(database, device, seen_at)
    for number in range(1, 15):
        record = _another(number)
        key = desk.procedure(database, keep, record, drafted=number % 7 != 0)
        if number % 7 and number < 11:
            _signed(service, key, number)
    lost = Interruption(id="I1", state="no_signal", from_s=610.0, to_s=648.0)
    draft = export_example.draft()
    worded = [
        replace(one, by="model", text="Between 7 min 46 s and 7 min 57 s a possible polyp was seen.")
        if one.id == "S8"
        else one
        for one in draft.sentences
    ]
    invented = replace(worded[7], id="S10", text="It measured about 8 mm.", struck="a size that no fact gives")
    report = replace(draft, sentences=(*worded[:8], invented, worded[8]), drafted=replace(draft.drafted, by="model"))
    return desk.procedure(database, keep, replace(desk.example()[0], interruptions=(lost,)), report)


def _another(number: int) -> Record:
    heading = desk.example()[0].heading
    started = f"2026-03-0{1 + number // 8}T{8 + number % 8:02d}:{number * 7 % 60:02d}:00Z"
    findings = desk.example()[0].findings[: number % 4]
    return desk.another(number, heading=replace(heading, started_at=started), findings=findings)


def _signed(service: ReportService, key: Key, number: int) -> None:
    from server import patients
    from server.clock import now
    from server.report import Signature

    family, given = NAMES[number % len(NAMES)]
    patient = replace(export_example.PATIENT, family=family, given=given, id=f"{4000 + number * 37:07d}")
    with service.database.write() as connection:
        version = reports.newest(connection, key)
        assert version is not None
        signature = Signature(account="ada", name="Dr. Ada Example", at=now())
        patients.join(connection, *key[:2], patient, "ada")
        signed = edits.sign(version.report, signature, 1)
        reports.append(connection, signed, after=1, what="signed", author="ada")


def shoot(browser: Any, url: str, key: Key, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(base_url=url, color_scheme="dark", viewport=_size(WIDE), reduced_motion="reduce")
    page = context.new_page()
    page.goto("/login")
    page.fill("#name", "ada")
    page.fill("#password", desk.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_selector("#rows tr")

    def shot(name: str) -> None:
        page.evaluate("Promise.all([...document.images].map(one => one.decode().catch(() => 0)))")
        page.screenshot(path=str(folder / f"review-{name}.png"))

    shot("list")
    page.goto(place(key))
    page.click("#S7 .text")
    shot("report")
    page.emulate_media(color_scheme="light")
    page.click("#S6 .edit")
    page.fill("#S6 textarea", "The mark at 1 min 46 s was a fold.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#S11")
    page.click("#S7 .edit")
    page.wait_for_selector("#S7 textarea")
    shot("edit")
    page.keyboard.press("Escape")
    page.wait_for_selector("#S7:not(.open)")
    page.emulate_media(color_scheme="dark")
    page.click("#standing .sign")
    for name, text in {"family": "Example", "given": "Erika", "id": "0000123", "birth_date": "1961-04-05"}.items():
        page.fill(f"#dialog #{name}", text)
    shot("sign")
    page.click("#dialog button.main")
    page.wait_for_selector(".state.final")
    page.goto(place(key, "history"))
    shot("history")
    page.goto(place(key))
    page.set_viewport_size(_size(TOWER))
    page.keyboard.press("l")
    page.keyboard.press("g")
    page.keyboard.press("r")
    shot("far")


def _size(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


if __name__ == "__main__":
    raise SystemExit(main())
