"""What an uplink says of itself on an ordinary day."""

from __future__ import annotations

from edge.clock import ClockStatus
from edge.uplink.wire import ReportsStatus, UplinkStatus

UPLINK = UplinkStatus(
    device="box-1",
    broker="b:8883",
    pid=1,
    updated_at="",
    updated_ns=1,
    clock=ClockStatus(trusted=True, source="chrony", error_s=0.02),
    connected=True,
    last_error="",
    permanent=False,
    waiting={},
    depth=7,
    oldest_age_s=1.5,
    connects=2,
    sent=9,
    republished=1,
    delivered=8,
    no_subscriber=0,
    refused=0,
    telemetry_dropped=0,
    reports=ReportsStatus(
        server="https://reports.example",
        waiting=2,
        sent=3,
        frames=30,
        bytes=3_000_000,
        aside={"run-9": "answers 400"},
        fault="",
        permanent=False,
    ),
)
