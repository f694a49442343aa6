"""The units are clean and do what they say: no network for the core, no device for the uplink, no privileges."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.twin.guest import box
from tools.twin.guest.twin import Twin, expect


def run(twin: Twin) -> None:
    twin.start()
    for unit in (box.CORE, box.UPLINK):
        # It exits with 0 for a key that it does not know: what counts is that it has nothing to say.
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        expect(verified.returncode == 0 and not verified.stderr, f"{unit}: {verified.stderr}")
        exposure = box.run("systemd-analyze", "security", "--no-pager", unit).splitlines()[-1]
        twin.say(exposure.encode("ascii", "ignore").decode().strip())
        facts = _status(box.pid(unit))
        expect(facts["Uid"].split()[0] != "0", f"{unit} runs as root")
        expect(int(facts["CapEff"], 16) == 0, f"{unit} has capabilities {facts['CapEff']}")
        expect(facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", f"{unit} may gain privileges or has no filter")
    core, uplink = (Path(f"/proc/{box.pid(unit)}") for unit in (box.CORE, box.UPLINK))
    interfaces = [line.partition(":")[0].strip() for line in (core / "net/dev").read_text().splitlines()[2:]]
    expect(interfaces == ["lo"], f"the core sees the network interfaces {interfaces}")
    expect((core / "net/tcp").read_text().count("\n") == 1, "the core sees TCP connections")
    expect(not list((uplink / "root/dev").glob("video*")), "the uplink sees a video device")


def _status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
