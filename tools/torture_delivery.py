#!/usr/bin/env python3
"""Kill writer, uplink and broker at random for as long as you like; says how many of the promised messages arrived.

tools/torture_delivery.py --kills 200            # needs mosquitto
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.torture import torture  # the tests' own rig


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1_000_000))
    parser.add_argument("--confirm", choices=["broker", "subscriber"], default="subscriber")
    parser.add_argument("--pause", type=float, default=0.5, metavar="S", help="longest time between two kills")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    result = torture(folder, kills=options.kills, seed=options.seed, confirm=options.confirm, pause_s=options.pause)
    print(result)
    if not result.ok:
        print(f"outbox, promises and logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
