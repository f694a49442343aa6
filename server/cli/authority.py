"""`endoedge-server authority`: who signs boxes' client certificates."""

from __future__ import annotations

import argparse
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from server import audit, authority
from server.cli.means import opened, operator


def add(commands: Any) -> None:
    parser = commands.add_parser("authority", help="an authority of our own, for boxes' client certificates")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    init = actions.add_parser("init", help="make its key and certificate, once")
    init.add_argument("--name", default="EndoEdge boxes", metavar="TEXT", help="its certificate's common name")
    init.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with opened(options) as means:
        file = authority.init(means.config.folder, options.name)
        made = authority.Authority(means.config.folder).certificate.public_bytes(Encoding.DER)
        with means.database.write() as connection:
            audit.record(connection, operator(), "authority.init", detail={"sha256": authority.fingerprint(made)})
        print(f"{file}: made; its key is beside it. Keep both safe, and start the server again.")
    return 0
