"""Is everything there that was promised? For a disk whose power really went; docs/on-device.md has the whole of it.

ssh box .venv/bin/python -m tools.faults.writer PART FOLDER SEED > promises     # on another machine; pull the plug
ssh box .venv/bin/python -m tools.faults.check PART FOLDER < promises
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.faults import parts
from tools.faults.promises import Promises, whole_lines


def main() -> int:
    """0 when nothing is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts.NAMES)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    made = whole_lines(sys.stdin.read())
    wrong = parts.check((options.part,), options.folder, Promises(made, made))
    print(wrong or f"all that {len(made)} lines promised is there")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
