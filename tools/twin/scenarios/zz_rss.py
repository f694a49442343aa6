"""Scratch."""

from __future__ import annotations
from pathlib import Path
from tools.twin.guest import box
from tools.twin.guest.box import CORE
from tools.twin.guest.twin import Twin

LIMIT_S = 2400.0


def run(twin: Twin) -> None:
    twin.start()
    for n in range(281):
        twin.pull_and_plug(quietly=True)
        if n % 20 == 0:
            roll = Path(f"/proc/{box.pid(CORE)}/smaps_rollup").read_text()
            kb = {l.split(":")[0]: int(l.split()[1]) for l in roll.splitlines()[1:]}
            heap = 0
            cur = ""
            for l in Path(f"/proc/{box.pid(CORE)}/smaps").read_text().splitlines():
                if "-" in l.split(" ")[0]:
                    cur = l.split()[-1] if len(l.split()) > 5 else "anon"
                elif l.startswith("Rss:") and cur == "[heap]":
                    heap += int(l.split()[1])
            facts = twin.core()
            twin.measure(f"{n}: rss,anon,heap,file,shm,fds", float(kb["Rss"]))
            twin.measure(f"{n}: anon", float(kb["Anonymous"]))
            twin.measure(f"{n}: heap", float(heap))
            twin.measure(f"{n}: fds", float(facts.fds))
