"""What `endoedge check` says of the machine, for a configuration that wants the GPU."""

from __future__ import annotations

from collections.abc import Sequence

from edge.cli import targets
from edge.config import SiteConfig
from edge.console.report import Row
from tools.on_device import Context, Result, failed, passed

TITLE = "GStreamer's elements, libraries, permissions"
LIMIT_S = 120.0
SITE = SiteConfig(
    device="on-device", pipeline="colonoscopy", capture={"source": "test"}, uplink={}, infer={"backend": "tensorrt"}
)


def run(context: Context) -> Result:
    context.need_jetson("a Jetson's packages and devices")
    return judge(targets.rows(SITE, targets.Probe(root=context.root)))


def judge(rows: Sequence[Row]) -> Result:
    bad = [row for row in rows if not row.good]
    if bad:
        return failed("; ".join(f"{row.what}: {row.found} ({row.mend})" for row in bad))
    return passed("; ".join(f"{row.what}: {row.found}" for row in rows))
