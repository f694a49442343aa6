#!/usr/bin/env python3
"""The traffic of many boxes on this machine: connections, telemetry and alerts through a real mosquitto, procedures
into a real report server. Prints what was lost and doubled, and how long things took.

tools/fleet_sim.py --boxes 1000 --seconds 60                # needs mosquitto
tools/fleet_sim.py --boxes 1000 --seconds 60 --faster 10    # 1,000 connections, the messages of 10,000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.broker import Broker, missing_tools
from tests.support.farm import Farm, cpu_s
from tests.support.fleet import Fleet, Plan, Result
from tests.support.postgresql import PostgreSQL, missing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="once all are connected")
    parser.add_argument("--faster", type=float, default=1.0, metavar="X", help="each does the work of so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="one of its own instead of SQLite")
    options = parser.parse_args()
    if reason := missing_tools() or (missing() if options.postgresql else ""):
        print(reason, file=sys.stderr)
        return 2
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # a connection is a file, here and at the broker
    plan = Plan(boxes=options.boxes, seconds=options.seconds, seed=options.seed, faster=options.faster)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(PostgreSQL(durable=True)).url() if options.postgresql else ""
        broker = stack.enter_context(Broker(folder))
        farm = stack.enter_context(Farm(folder / "farm", url))
        farm.web()
        farm.worker()
        farm.wait_up()
        result = asyncio.run(Fleet(plan, broker.port, farm).play())
        work = {"web": farm.processes["web 0"].pid, "worker": farm.processes["worker 0"].pid, "mosquitto": broker.pid}
        print("\n".join(page(result, {what: cpu_s(pid) for what, pid in work.items()})))
    return 0 if result.ok else 1


def page(result: Result, work: dict[str, float]) -> list[str]:
    plan, heard = result.plan, result.heard
    lost = result.telemetry - len(heard.telemetry_s)
    seconds = plan.seconds + plan.ramp_s
    shares = ", ".join(f"{what} {used / seconds:.0%}" for what, used in work.items())
    return [
        f"{plan.boxes} boxes, {plan.seconds:g} s, each with the work of {plan.faster:g}",
        f"telemetry: {result.telemetry} sent ({result.telemetry / seconds:.0f}/s), {lost} lost, "
        f"{_took(heard.telemetry_s)}",
        f"alerts:    {len(result.promised)} confirmed, {result.lost} lost, {result.doubled} doubled, "
        f"{_took(heard.alert_s)}",
        f"reports:   {plan.uploads} handed over, {result.records} records, {result.drafts} drafts, "
        f"{plan.uploads - result.drafts} lost, {_took(result.upload_s)}",
        f"drafts:    after the record: {_took(result.draft_s)}",
        f"work:      {shares} of one core",
        *result.failed[:20],
    ]


def _took(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
