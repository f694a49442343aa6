"""Signs that nothing has changed: the timestamp, and the snapshot when it is near its end. For a daily cron job, with
the two online keys alone:

    17 3 * * *  tools/release.sh refresh REPO --keys KEYS
"""

from __future__ import annotations

import argparse

from tools.release import keyring, options, repository

HELP = "sign the timestamp anew (daily)"


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)
    options.keys(parser)


def main(asked: argparse.Namespace) -> int:
    given = dict(asked.key)
    snapshot, timestamp = (keyring.signer(asked.keys, name, given) for name in ("snapshot", "timestamp"))
    both = repository.refresh(asked.repository, snapshot, timestamp)
    state = repository.read(asked.repository)
    words = f"timestamp {state.timestamp.signed.version}, valid until {state.timestamp.signed.expires:%Y-%m-%d}"
    also = f"; snapshot {state.snapshot.signed.version}, until {state.snapshot.signed.expires:%Y-%m-%d}" if both else ""
    print(f"{asked.repository}: {words}{also}")
    return 0
