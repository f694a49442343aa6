"""What a USB stick has to carry for boxes without a network: all roots, the newest metadata, one channel's offer and
bundle. The trust is the same, so it ends when the timestamp does (14 days); --days signs a longer one for the stick.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from edge.errors import UpdateError
from tools.release import keyring, options, repository

HELP = "what a USB stick carries"
DAYS_MOST = 365


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)
    options.keys(parser)
    parser.add_argument("--channel", required=True, metavar="C")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    parser.add_argument("--days", type=_days, metavar="N", help="how long it can be used (needs the online keys)")


def main(asked: argparse.Namespace) -> int:
    source, to = asked.repository, asked.to
    if to.exists() and any(to.iterdir()):
        raise UpdateError(f"{to}: something is there already")
    offer = repository.offers(source).get(asked.channel)
    if offer is None:
        raise UpdateError(f"{source}: nothing is offered in channel {asked.channel}")
    bundle = source / offer.bundle.url
    if not bundle.exists():
        raise UpdateError(f"{bundle}: not there; a stick has to carry it")
    for name in ("metadata", "targets", "bundles"):
        (to / name).mkdir(parents=True, exist_ok=True)
    with repository.changing(source):
        names = [file.name for file in (source / "metadata").glob("[0-9]*.root.json")]
        if asked.days:
            keys = [keyring.signer(asked.keys, name, dict(asked.key)) for name in ("snapshot", "timestamp")]
            names.append(repository.for_stick(source, to, *keys, days=asked.days))
        else:
            names += [name for name, _ in repository.files(source).values()]
        for name in names:
            shutil.copyfile(source / "metadata" / name, to / "metadata" / name)
        target = repository.read(source).targets.signed.targets[f"{asked.channel}.json"]
    name = f"{target.hashes['sha256']}.{target.path}"
    shutil.copyfile(source / "targets" / name, to / "targets" / name)
    shutil.copyfile(bundle, to / "bundles" / bundle.name)
    state = repository.read(to)
    ends = min(one.signed.expires for one in state)
    print(f"{to}: {offer.version} of {asked.channel}, to be used until {ends:%Y-%m-%d}")
    return 0


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= DAYS_MOST:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 to {DAYS_MOST}")
    return int(text)
