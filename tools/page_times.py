#!/usr/bin/env python3
"""How long a person waits for the review page: the real server, Debian's Chromium, on this machine.

    python -m tools.page_times [--procedures 1000] [-n 40] [--database postgresql://...]

First paint: from the click to the first contentful paint, nothing in the browser's cache but what a page before left
there. A key: from the key to the frame that shows it. Saving, striking: from the click to the frame after the swap.
Milliseconds, p50 and p95 of N.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from server.keep import Folder
from server.reports import Key
from server.web.pages import place
from tests.support import desk_of_reports as desk
from tests.support.report_service import ReportService

CHROMIUM = "/usr/bin/chromium"
LIMITS = {"first paint": 300.0, "interaction": 100.0}  # ms
_PAINT = """() => new Promise(done => new PerformanceObserver(seen => {
  const found = seen.getEntriesByName("first-contentful-paint")[0];
  if (found) done(found.startTime); }).observe({type: "paint", buffered: true}))"""
_WATCH = """() => { window.__shown = new Promise(done => document.body.addEventListener("htmx:afterSettle",
  () => requestAnimationFrame(() => setTimeout(() => done(performance.now()))), {once: true})); }"""
_KEY = """key => new Promise(done => { const from = performance.now();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - from))); })"""
_CLICK = """async selector => { const from = performance.now();
  document.querySelector(selector).click();
  return (await window.__shown) - from; }"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--procedures", type=int, default=1000, help="in the database")
    parser.add_argument("-n", type=int, default=40, help="of each measurement")
    parser.add_argument("--database", default="", help="an empty PostgreSQL; default: SQLite")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as made,
        ReportService(Path(made) / "s", options.database, worker=False) as service,
    ):
        keys = _fill(service, options.procedures)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            times = _measure(browser, service.url, keys, options.n)
            browser.close()
        kind = "SQLite" if service.database.is_sqlite else "PostgreSQL"
    return _tell(
        times, f"{options.procedures} procedures, {kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )


def _fill(service: ReportService, number: int) -> list[Key]:
    desk.people(service.database)
    desk.box(service.database, "example-box")
    keep = Folder(service.data / "frames")
    return [desk.procedure(service.database, keep, desk.another(one)) for one in range(number)][::-1]


def _measure(browser: Any, url: str, keys: list[Key], n: int) -> dict[str, list[float]]:
    page = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900}).new_page()
    page.goto("/login")
    page.fill("#name", "ada")
    page.fill("#password", desk.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_selector("#rows tr")
    times: dict[str, list[float]] = {}

    def take(name: str, measured: Callable[[], float]) -> None:
        times.setdefault(name, []).append(measured())

    for number in range(n):
        key = keys[number % len(keys)]
        cold = "" if number else ", cold"  # a browser that has just been started
        take(f"first paint: list{cold}", lambda: _painted(page, "/"))
        take("interaction: key j in the list", lambda: page.evaluate(_KEY, "j"))
        take("interaction: search", lambda key=key: _searched(page, key.procedure[-4:]))  # type: ignore[misc]
        take(f"first paint: report{cold}", lambda key=key: _painted(page, place(key)))  # type: ignore[misc]
        page.wait_for_load_state("load")
        take("interaction: key j", lambda: page.evaluate(_KEY, "j"))
        take("interaction: open the form", lambda: _swapped(page, "#S5 .edit"))
        page.fill("#S5 textarea", f"The caecum was reached, {number}.")
        take("interaction: save", lambda: _swapped(page, "#S5 button.main"))
        page.click("#S6 .strike")
        page.wait_for_selector("#S6 button.main")
        take("interaction: strike", lambda: _swapped(page, "#S6 button.main"))
    return times


def _painted(page: Any, path: str) -> float:
    page.goto(path)
    return float(page.evaluate(_PAINT))


def _swapped(page: Any, selector: str) -> float:
    page.evaluate(_WATCH)
    return float(page.evaluate(_CLICK, selector))


def _searched(page: Any, text: str) -> float:
    """Without the 200 ms that it waits for more letters."""
    page.evaluate(_WATCH)
    page.evaluate("text => { document.querySelector('#text').value = text }", text)
    return float(
        page.evaluate(
            "async () => { const from = performance.now(); document.querySelector('.filter').requestSubmit();"
            " return (await window.__shown) - from; }"
        )
    )


def _tell(times: dict[str, list[float]], where: str) -> int:
    table = Table("ms", "n", "p50", "p95", "most", "limit", title=where)
    late = False
    for name, taken in times.items():
        ordered, limit = sorted(taken), LIMITS[name.partition(":")[0]]
        p50, p95 = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95))
        late = late or p95 > limit
        table.add_row(name, str(len(ordered)), f"{p50:.0f}", f"{p95:.0f}", f"{ordered[-1]:.0f}", f"{limit:.0f}")
    Console(width=100).print(table)
    return int(late)


if __name__ == "__main__":
    raise SystemExit(main())
