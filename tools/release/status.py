"""What a repository offers, and what in it ends when. Exit code 1: something ends within a week, or is not whole."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

from edge.errors import UpdateError
from edge.update.offer import Offer
from tools.release import options, publish, repository, roots

HELP = "what is offered, and what ends when"
SOON = timedelta(days=7)


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)


def main(asked: argparse.Namespace) -> int:
    folder: Path = asked.repository
    troubles = [*_ends(repository.read(folder), repository.now())]
    offers = repository.offers(folder)
    for offer in offers.values():
        troubles += _offer(folder, offer)
    if not offers:
        print("nothing is offered")
    if (folder / roots.DRAFT).exists():
        draft = roots.read_draft(folder)
        print(f"version {draft.signed.version} of the root waits for signatures: {folder / roots.DRAFT}")
    for words in troubles:
        print(f"! {words}")
    return 1 if troubles else 0


def _ends(state: repository.State, now: datetime) -> list[str]:
    troubles = []
    for metadata in state:
        role, version, expires = metadata.signed.type, metadata.signed.version, metadata.signed.expires
        days = (expires - now) / timedelta(days=1)
        print(f"{role:9} version {version:<4} until {expires:%Y-%m-%d}, {days:.0f} days")
        if expires - now < SOON:
            mend = {"root": "keys renew", "targets": "publish, or share"}.get(role, "refresh")
            ended = "has ended" if days <= 0 else f"ends in {days:.1f} days"
            troubles.append(f"{role} {ended}: tools/release.sh {mend}; boxes keep running, and install nothing")
    return troubles


def _offer(folder: Path, offer: Offer) -> list[str]:
    print(publish.said(offer))
    if offer.at_least != "0":
        print(f"  after {offer.at_least} alone")
    if offer.may_replace:
        print(f"  a way back from {', '.join(offer.may_replace)}")
    print(f"  {offer.bundle.url}, {offer.bundle.size} bytes")
    if "://" in offer.bundle.url:
        return []
    try:
        found = repository.described(folder / offer.bundle.url, offer.version, offer.hardware[0])
    except UpdateError as exc:
        return [str(exc)]
    if (found.size, found.sha256) != (offer.bundle.size, offer.bundle.sha256):
        return [f"{folder / offer.bundle.url}: not the bundle that is offered: sha256 {found.sha256}"]
    return []
