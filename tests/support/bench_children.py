"""Children that do what they should not, started as `tools.gpu_bench` starts its own: `test_gpu_bench.py`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def main(name: str, options: dict[str, object]) -> int:
    if name == "path":
        ready_ns = time.monotonic_ns()
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps({"seconds": options["seconds"], "ready": ready_ns, "began": time.monotonic_ns()}))
    elif name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "refuse":
        print("a warning\ngpu_bench: out of memory", file=sys.stderr)
        return 1
    elif name == "hang":
        time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[2], json.loads(sys.argv[4])))
