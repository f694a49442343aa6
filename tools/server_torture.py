#!/usr/bin/env python3
"""Boxes hand procedures over to real web processes and workers, which are killed at random (-9). Says what was lost,
doubled or changed.

tools/server_torture.py --boxes 200 --procedures 1000 --kills 20 --seed 7 --postgresql --webs 2 --workers 3
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.postgresql import PostgreSQL, missing
from tests.support.server_torture import torture  # the tests' own rig


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--procedures", type=int, default=1000, help="of all boxes together")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1_000_000))
    parser.add_argument("--webs", type=int, default=1, metavar="N", help="web processes")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--postgresql", action="store_true", help="one of its own instead of SQLite")
    parser.add_argument("--within", type=float, default=3600, metavar="S", help="give up then")
    options = parser.parse_args()
    if options.postgresql and (reason := missing()):
        print(f"--postgresql: {reason}", file=sys.stderr)
        return 2
    logging.getLogger("edge.uplink.reports").setLevel(logging.CRITICAL)  # that its server is away is the point
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    with PostgreSQL() if options.postgresql else contextlib.nullcontext() as server:
        result = torture(
            folder,
            boxes=options.boxes,
            procedures=options.procedures,
            kills=options.kills,
            seed=options.seed,
            database=server.url() if server else "",
            webs=options.webs,
            workers=options.workers,
            within_s=options.within,
        )
    print(result)
    if not result.ok:
        print(f"spools, key frames and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
