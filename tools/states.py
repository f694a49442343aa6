#!/usr/bin/env python3
"""Write the table of signal states and the capture profiles into docs/capture.md, from the code that they are.

tools/states.py            # write
tools/states.py --check    # exit 1 when the page is not current
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge.capture.profiles import all_profiles  # noqa: E402
from edge.capture.signal import TABLE  # noqa: E402

PAGE = ROOT / "docs" / "capture.md"


def states() -> str:
    rows = [
        f"| `{row.state.value}` | {row.means} | {row.seen_by} | {row.hold_ns / 1e9:g} s | {row.recovery or '-'} |"
        for row in TABLE
    ]
    head = "| state | what it means | how it is seen | shown at least | what is tried |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def profiles() -> str:
    rows = [
        f"| `{one.name}` | {one.machine} | `{one.memory}`"
        f" | {', '.join(f'`{need}`' for need in one.needs + one.libraries)} |"
        for one in all_profiles()
    ]
    return "\n".join(["| profile | machine | frames lie in | needs |", "|---|---|---|---|", *rows])


TABLES = {"states": states, "profiles": profiles}


def current(page: str) -> str:
    """The page with each table between its marks as the code has it now."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: tools/states.py -->\n", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{PAGE.relative_to(ROOT)}: the marks of {name!r} are missing")
        page = f"{before}{begin}{table()}\n{end}{after}"
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    fresh = current(page)
    if fresh == page:
        return 0
    print(f"{PAGE.relative_to(ROOT)}: {'not current' if options.check else 'written'}")
    if not options.check:
        PAGE.write_text(fresh, encoding="utf-8")
    return 1 if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
