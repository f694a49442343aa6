"""`endoedge run uplink`: the mouth. No pixels, and nothing that could look at one."""

from __future__ import annotations

import argparse
import threading

from edge.cli.site import make_run_dir, read_site
from edge.uplink import service


def serve(options: argparse.Namespace, stop: threading.Event) -> int:
    site = read_site(options.config)
    make_run_dir(site)
    service.run(
        site.uplink,
        site.config.device,
        site.outbox_path,
        status_path=site.uplink_status_path,
        notify_socket=site.bell_path,
        stop=stop,
        telemetry_path=site.status_path,
        safe_path=site.safe_path,
        spool_path=site.spool_path,
        update_path=site.update_path,
    )
    return 0
