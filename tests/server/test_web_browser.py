"""A person at the review page, in Debian's Chromium, with the real server in a process of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from edge.procedure import Interruption, Record
from server import reports
from server.keep import Folder
from server.report import Report
from server.reports import Key, Version
from server.web.pages import place
from tests.support import desk_of_reports as desk
from tests.support.report_service import ReportService
from tools import export_example

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[1] / "support/axe/axe.min.js"
SHORT_MS = 10_000
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="not installed: chromium")
_numbers = itertools.count(1000)


class Desk:
    def __init__(self, service: ReportService, browser: Any, cookies: dict[str, Any]) -> None:
        """`cookies`: of who has logged in before; it is not done too often."""
        self.service, self.url, self._browser, self._cookies = service, service.url, browser, cookies
        self.keep = Folder(service.data / "frames")
        self.wrong: list[str] = []
        self._contexts: list[Any] = []

    def procedure(self, record: Record | None = None, draft: Report | None = None, **more: bool) -> Key:
        record = record or desk.another(next(_numbers))
        return desk.procedure(self.service.database, self.keep, record, draft, **more)

    def newest(self, key: Key) -> Version:
        with self.service.database.read() as connection:
            found = reports.newest(connection, key)
        assert found is not None
        return found

    def person(self, name: str = "ada", at: str = "", **context: Any) -> Any:
        """Logged in, and there."""
        made = self._browser.new_context(base_url=self.url, **{"viewport": {"width": 1440, "height": 900}, **context})
        made.set_default_timeout(SHORT_MS)
        self._contexts.append(made)
        page = made.new_page()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda told: self.wrong.append(told.text) if told.type == "error" else None)
        if name in self._cookies:
            made.add_cookies(self._cookies[name])
            page.goto(at or "/")
        else:
            page.goto(f"/login?next={at or '/'}")
            page.fill("#name", name)
            page.fill("#password", desk.PASSWORD)
            page.click("main button[type=submit]")
            page.wait_for_selector("#list, #report")
            self._cookies[name] = [one for one in made.cookies() if one["name"] != "look"]
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReportService]:
    folder = tmp_path_factory.mktemp("review")
    (folder / "planned").mkdir()
    planned = {"patient": export_example.PATIENT, "scheduled": "2026-03-02T09:15:00Z", "procedure": "Colonoscopy"}
    (folder / "planned/one.json").write_bytes(msgspec.json.encode(planned))
    with ReportService(folder, more='[worklist]\nfolder = "planned"\n', worker=False) as running:
        desk.people(running.database)
        desk.box(running.database, export_example.DEVICE)
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Not the session's: while it is there, an event loop runs in this thread, and others' tests could run none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cookies() -> dict[str, Any]:
    return {}


@pytest.fixture
def server(service: ReportService, chromium: Any, cookies: dict[str, Any]) -> Iterator[Desk]:
    made = Desk(service, chromium, cookies)
    yield made
    made.close()
    assert made.wrong == []


def _said(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".sentence:not(.struck) p.text").all_inner_texts()]


# ------------------------------------------------------------------------------------------------ the whole


def test_a_report_is_edited_signed_and_amended(server: Desk) -> None:
    key = server.procedure()
    page = server.person("ada")
    page.fill("#text", key.procedure[-12:])
    page.wait_for_selector("#rows tr:only-child")
    page.click(f"a[href='{place(key)}']")
    page.click("#S5 .edit")
    page.fill("#S5 textarea", "The caecum was reached and photographed.")
    page.click("#S5 button.main")
    page.wait_for_selector("#S10.by-person")
    assert page.locator("#S5.struck .why").inner_text() == "Replaced by Dr. Ada Example"
    page.click("#S6 .strike")
    page.fill("#S6 input[name=text]", "a fold")
    page.click("#S6 button.main")
    page.wait_for_selector("#S6.struck")
    assert "No sentence says this" in page.locator("#said-F1").inner_text()
    page.click("a[aria-label='Add to Summary']")
    page.fill("#new textarea", "Two polyps.")
    page.click("#new label:has-text('F2')")
    page.click("#new label:has-text('F3')")
    page.click("#new button.main")
    page.wait_for_selector("#S11")
    assert page.locator("#said-F2").inner_text() == "Said in S7 S11"
    assert "9 sentences stand: 7 by the machine, 2 by people. 2 struck out or replaced" in page.inner_text("#standing")
    page.click("#standing .sign")
    for name, text in {"family": "Example", "given": "Erika", "id": "0000123", "birth_date": "1961-04-05"}.items():
        page.fill(f"#dialog #{name}", text)
    page.click("#dialog button.main")
    page.wait_for_selector(".state.final")
    assert "Example, Erika, born 1961-04-05, 0000123" in page.inner_text(".meta")
    assert page.locator("#report .act").count() == 0
    page.click("#standing .addendum")
    page.fill("#dialog textarea", "Histology: tubular adenoma.")
    page.click("#dialog button.main")
    page.wait_for_selector(".state.amended")
    page.click("a:text('History')")
    told = page.inner_text(".history")
    for words in ("Histology: tubular adenoma.", "a fold", "replaced", "Signed", "Drafted by the template"):
        assert words in told
    version = server.newest(key)
    assert [one.id for one in version.report.standing()] == [
        "S1",
        "S2",
        "S3",
        "S4",
        "S10",
        "S7",
        "S8",
        "S9",
        "S11",
        "S12",
    ]


def test_the_patient_is_chosen_and_not_half_of_another(server: Desk) -> None:
    key = server.procedure()
    page = server.person("ada", place(key))
    page.click("#standing .sign")
    page.click("#dialog .planned button:has-text('Example, Erika')")
    page.wait_for_selector("#dialog .whose")
    assert "1961-04-05" in page.inner_text("#dialog .whose")
    assert page.locator("#dialog #family").count() == 0
    assert _axe(page) == []
    page.click("#dialog a:text('Another patient')")
    page.wait_for_selector("#dialog #family")
    page.fill("#dialog #planned", "nobody")
    page.click("#dialog button:text('Search')")
    page.wait_for_selector("#dialog .planned:has-text('Nobody is planned')")
    page.fill("#dialog #planned", "erika")
    page.keyboard.press("Enter")
    page.click("#dialog .planned button")
    page.click("#dialog button.main")
    page.wait_for_selector(".state.final")
    assert "Example, Erika" in page.inner_text(".meta >> nth=0")
    page.click(".meta .correct")
    page.fill("#dialog #family", "Other")
    page.select_option("#dialog #reason", "mistyped")
    assert _axe(page) == []
    page.click("#dialog button.main")
    page.wait_for_selector(".meta strong:has-text('Other, Erika')")


def test_all_of_it_is_done_by_keys(server: Desk) -> None:
    key = server.procedure()
    page = server.person("ada", place(key))
    keys = page.keyboard
    for _ in range(6):
        keys.press("j")
    assert page.evaluate("document.activeElement.id") == "S6"
    assert page.locator(".fact.lit").get_attribute("id") == "F1"
    assert page.locator("#timeline a.lit").count() == 2
    keys.press("x")
    page.wait_for_selector("#why-S6:focus")
    keys.type("a fold")
    keys.press("Enter")
    page.wait_for_selector("#S6.struck:focus")
    keys.press("u")
    page.wait_for_selector("#S6:not(.struck):focus")
    keys.press("k")
    keys.press("Enter")
    page.wait_for_selector("#text-S5:focus")
    keys.type(" So it was.")
    keys.press("Control+Enter")
    page.wait_for_selector("#S10:focus")
    keys.press("a")
    page.wait_for_selector("#text-new:focus")
    keys.type("One more.")
    keys.press("Control+Enter")
    page.wait_for_selector("#S11:focus")
    keys.press("a")
    page.wait_for_selector("#text-new:focus")
    keys.press("Escape")
    page.wait_for_selector("#new", state="detached")
    keys.press("?")
    page.wait_for_selector("#help[open]")
    keys.press("Escape")
    keys.press("g")
    keys.press("t")
    assert page.evaluate("document.activeElement.id") == "timeline"
    keys.press("l")
    assert page.evaluate("document.documentElement.dataset.size") == "large"
    keys.press("d")
    keys.press("s")
    page.wait_for_selector("#dialog[open] #family")
    keys.press("Escape")
    page.wait_for_selector("#dialog:not([open])", state="attached")
    keys.press("g")
    keys.press("l")
    page.wait_for_selector("#rows")
    keys.press("j")
    keys.press("Enter")
    page.wait_for_selector("#report, .banner")
    said = [one.text for one in server.newest(key).report.standing()]
    assert "The caecum was seen at 6 min 40 s. So it was." in said
    assert "One more." in said


def test_two_people_at_the_same_report(server: Desk) -> None:
    key = server.procedure()
    ada, ben = server.person("ada", place(key)), server.person("ben", place(key))
    ada.click("#S5 .edit")
    ada.fill("#S5 textarea", "Ada says so.")
    ben.click("#S5 .edit")
    ben.fill("#S5 textarea", "Ben says so.")
    ben.click("#S5 button.main")
    ben.wait_for_selector("#S10")
    ada.wait_for_selector("#news .banner:has-text('version 2')")
    assert ada.input_value("#S5 textarea") == "Ada says so."
    ada.click("#S5 button.main")
    ada.wait_for_selector("#S10.open .alert:has-text('Ben says so.')")
    assert ada.input_value("#S10 textarea") == "Ada says so."
    ada.click("#S10 button.main")
    ada.wait_for_selector("#S11.by-person")
    assert "Ada says so." in _said(ada)
    assert "Ben says so." not in _said(ada)
    server.wrong = [told for told in server.wrong if "409" not in told]  # the browser tells of each


def test_what_was_typed_outlives_a_reload_and_a_server_that_is_away(server: Desk) -> None:
    key = server.procedure()
    page = server.person("ada", place(key))
    page.click("#S5 .edit")
    page.fill("#S5 textarea", "Not lost.")
    page.route("**/sentences/S5", lambda route: route.abort())
    page.click("#S5 button.main")
    page.wait_for_selector("#toast:has-text('still here')")
    assert page.input_value("#S5 textarea") == "Not lost."
    page.unroute("**/sentences/S5")
    page.reload()
    page.click("#S5 .edit")
    page.wait_for_selector("#S5 textarea:focus")
    assert page.input_value("#S5 textarea") == "Not lost."
    page.click("#S5 button.main")
    page.wait_for_selector("#S10")
    assert [name for name in page.evaluate("Object.keys(sessionStorage)") if name.startswith("typed")] == []
    server.wrong = [told for told in server.wrong if "ERR_FAILED" not in told and "htmx:" not in told]


def test_own_changes_do_not_make_an_open_form_late(server: Desk) -> None:
    page = server.person("ada", place(server.procedure()))
    page.click("#S5 .edit")
    page.fill("#S5 textarea", "First.")
    page.click("#S6 .edit")
    page.fill("#S6 textarea", "Second.")
    page.click("#S6 button.main")
    page.wait_for_selector("#S10")
    page.click("#S5 button.main")
    page.wait_for_selector("#S11")
    assert {"First.", "Second."} <= set(_said(page))


def test_all_of_it_works_without_javascript(server: Desk) -> None:
    key = server.procedure()
    page = server.person("ada", place(key), java_script_enabled=False)
    page.click("#S5 .edit")
    page.fill("#S5 textarea", "Without a script.")
    page.click("#S5 button.main")
    assert page.url.endswith("#S10")
    page.click("#S6 .strike")
    page.fill("#S6 input[name=text]", "a fold")
    page.click("#S6 button.main")
    page.click("#S6 .restore")
    page.click("a[aria-label='Add to Summary']")
    page.fill("#new textarea", "Added.")
    page.click("#new button.main")
    assert {"Without a script.", "Added."} <= set(_said(page))
    page.click("#standing .sign")
    page.fill("#family", "Example")
    page.fill("#id", "1")
    page.click("button.main:text('Sign')")
    assert page.locator(".state.final").count() == 1
    page.click(".fact a >> nth=0")
    page.select_option("#theme", "dark")
    page.click("button:text('Set')")
    assert page.get_attribute("html", "data-theme") == "dark"


# ---------------------------------------------------------------------------------------------------- live


def test_the_list_is_live(server: Desk) -> None:
    page = server.person("vera")
    page.wait_for_timeout(1500)  # the first look of the server has been
    key = server.procedure(drafted=False)
    row = f"#p-{key.device}-{key.procedure}"
    page.wait_for_selector(f"{row} .state.none")
    report = replace(export_example.draft(), **key._asdict())
    with server.service.database.write() as connection:
        reports.append(connection, report, after=0, what="drafted", author="")
    page.wait_for_selector(f"{row} .state.draft")


def test_a_server_that_stops_does_not_wait_for_streams(tmp_path: Path, chromium: Any) -> None:
    with ReportService(tmp_path, worker=False) as service:
        desk.people(service.database)
        server = Desk(service, chromium, {})
        server.person("vera").wait_for_timeout(500)
        child = service._child
        assert child is not None
        child.terminate()
        assert child.wait(8) == 0
        assert "Cancel" not in service.log()
        server.close()


# --------------------------------------------------------------------------------------- for everybody's eyes


def _marked() -> tuple[Record, Report]:
    """With all that a report can show."""
    lost = Interruption(id="I1", state="no_signal", from_s=300, to_s=360)
    record = desk.another(next(_numbers), state="interrupted", interruptions=(lost,))
    draft = export_example.draft()
    worded = [replace(one, by="model") if one.id in ("S6", "S7") else one for one in draft.sentences]
    struck = [replace(one, struck="a size") if one.id == "S8" else one for one in worded]
    return record, replace(draft, sentences=tuple(struck))


def test_pages_are_accessible(server: Desk) -> None:
    key = server.procedure(*_marked())
    page = server.person("ada", color_scheme="dark")
    parts = [place(key, part) for part in ("sentences/S5/edit", "history", "sign")]
    for path in ("/", "/account", *parts):
        page.goto(path)
        assert _axe(page) == [], path
    page.goto(place(key))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert _axe(page) == [], theme
    page.keyboard.press("?")
    assert _axe(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.wait_for_selector("#dialog[open] #family")
    assert _axe(page) == []


def _axe(page: Any) -> list[str]:
    """What is wrong. The page's own policy lets no foreign script in, so it is brought in from outside of it."""
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


SIZES = [(320, 568), (768, 1024), (1920, 1080), (3840, 2160)]


def test_nothing_is_cut_off_at_any_size(server: Desk) -> None:
    record = desk.another(next(_numbers), not_recorded={"x" * 600: "y" * 600})
    draft = export_example.draft()
    long = replace(draft.sentences[5], text="Polyp" * 120)
    key = server.procedure(record, replace(draft, sentences=(*draft.sentences[:5], long, *draft.sentences[6:])))
    page = server.person("ada")
    for path in ("/", place(key), place(key, "sentences/S5/edit"), place(key, "history")):
        page.goto(path)
        for large in ("normal", "large"):
            page.evaluate("size => document.documentElement.dataset.size = size", large)
            for width, height in SIZES:
                page.set_viewport_size({"width": width, "height": height})
                assert page.evaluate(_WIDE) == [], (path, width, large)


_WIDE = """[document.documentElement.scrollWidth > innerWidth + 1 ? "the page" : "",
  ...[...document.querySelectorAll("main *")]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".film, .wide, svg, .vh"))
    .map(one => one.outerHTML.slice(0, 120))].filter(Boolean)"""


def test_large_type_can_be_read_from_far_away(server: Desk) -> None:
    """16' of arc at 3 m are 14 mm; a 27-inch screen of 1920x1080 has 3.2 pixels to a millimetre: 44 px a capital."""
    page = server.person("ada", place(server.procedure()), viewport={"width": 1920, "height": 1080})
    page.keyboard.press("l")
    size = float(page.evaluate("parseFloat(getComputedStyle(document.querySelector('#S5 p.text')).fontSize)"))
    assert size >= 44 / 0.72


def test_hostile_words_stay_words(server: Desk) -> None:
    wild = "<img src=x onerror=document.title='owned'>\u202e" + "W" * 600
    record = desk.another(next(_numbers), not_recorded={wild: wild})
    finding = replace(record.findings[0], label=wild)
    record = replace(record, findings=(finding, *record.findings[1:]), state="interrupted")
    draft = export_example.draft()
    said = replace(draft.sentences[5], text=wild[:500])
    key = server.procedure(record, replace(draft, sentences=(*draft.sentences[:5], said, *draft.sentences[6:])))
    page = server.person("ada", place(key))
    assert page.locator("main img[src=x]").count() == 0
    assert page.title() != "owned"
    page.click("#S6 .edit")
    page.wait_for_selector("#S6 textarea")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    assert page.title() != "owned"


def test_a_foreign_script_does_not_run(server: Desk) -> None:
    page = server.person("ada", place(server.procedure()))
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<button id=evil onclick=\"document.title=1\">x</button>')"
    )
    page.evaluate("document.getElementById('evil').click()")
    page.evaluate(
        "{const s = document.createElement('script'); s.textContent = 'document.title=1'; document.body.append(s)}"
    )
    assert page.title() != "1"
    assert len(server.wrong) == 2
    assert all("Content Security Policy" in told for told in server.wrong)
    server.wrong = []


def test_the_page_prints(server: Desk, tmp_path: Path) -> None:
    import pikepdf

    page = server.person("ada", place(server.procedure()), color_scheme="dark")
    file = tmp_path / "print.pdf"
    page.pdf(path=str(file), format="A4", print_background=True)
    page.emulate_media(media="print")
    assert page.locator(".bar, .actions, .film").evaluate_all("all => all.every(one => !one.checkVisibility())")
    white = "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == white
    with pikepdf.open(file) as pdf:
        assert 1 < len(pdf.pages) <= 4


def test_motion_is_left_out_where_somebody_asks(server: Desk) -> None:
    page = server.person("ada", place(server.procedure()), reduced_motion="reduce")
    assert re.fullmatch(
        r"(all|none)?( ?0s.*)?", page.evaluate("getComputedStyle(document.querySelector('#F1')).transition")
    )
