"""Offers a bundle in a channel, in the place of the one before; with --yank, nothing any more.

What the release says of itself (version, hardware, what is different) is taken from the bundle. A release goes to a
share of the boxes first (--share 0.1; `share` raises it); those that it goes to are chosen by hash.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edge.errors import UpdateError, UsageError
from edge.release import Release
from edge.update.offer import Bundle, Offer
from tools.release import image, keyring, options, repository

HELP = "offer a bundle in a channel"


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)
    options.keys(parser)
    parser.add_argument("--channel", required=True, metavar="C")
    parser.add_argument("--bundle", type=Path, metavar="B", help="as `sign` makes it")
    parser.add_argument("--share", type=share, default=1.0, metavar="0..1", help="of the boxes (%(default)s)")
    parser.add_argument("--at-least", default="0", metavar="V", help="the version that has to run before this one")
    parser.add_argument(
        "--may-replace", action="append", default=[], metavar="V", help="a newer version from which this is a way back"
    )
    parser.add_argument("--consent", action="store_true", help="a person at the box has to agree, in any case")
    parser.add_argument("--yank", action="store_true", help="offer nothing in that channel any more")


def main(asked: argparse.Namespace) -> int:
    keys = keyring.release_keys(asked.keys, dict(asked.key))
    if asked.yank:
        repository.withdraw(asked.repository, asked.channel, keys)
        print(f"{asked.channel}: nothing is offered any more; boxes that have it keep it")
        return 0
    if asked.bundle is None:
        raise UsageError("--bundle B is needed (or --yank)")
    offer = offered(asked)
    before = repository.offers(asked.repository).get(asked.channel)
    if before is not None:
        _say_step(before, offer)
    repository.publish(asked.repository, offer, asked.bundle, keys)
    print(said(offer))
    print(f"  {offer.bundle.url}, {offer.bundle.size} bytes, sha256 {offer.bundle.sha256}")
    return 0


def offered(asked: argparse.Namespace) -> Offer:
    """Raises UpdateError: the bundle does not say what an offer needs."""
    with image.inside(asked.bundle) as found:
        release = image.release(found)
    hardware = _hardware(asked.bundle, release)
    described: Bundle = repository.described(asked.bundle, release.version, hardware)
    said = {
        "version": release.version,
        "channel": asked.channel,
        "hardware": (hardware,),
        "bundle": msgspec.to_builtins(described),
        "content": release.content,
        "share": asked.share,
        "at_least": asked.at_least,
        "system": release.system,
        "may_replace": asked.may_replace,
        "consent": asked.consent,
        "changes": release.changes,
        "clinical": release.clinical,
    }
    try:
        return msgspec.convert(said, Offer)
    except msgspec.ValidationError as exc:
        raise UpdateError(f"{asked.bundle}: cannot be offered: {exc}") from exc


def _hardware(bundle: Path, release: Release) -> str:
    """What its manifest says, as RAUC will hold it against the box."""
    for line in image.cat(bundle, "manifest.raucm").decode(errors="replace").splitlines():
        if line.startswith("compatible="):
            found = line.removeprefix("compatible=").strip()
            if found not in release.hardware:
                raise UpdateError(f"{bundle}: signed for {found}; the release is for {', '.join(release.hardware)}")
            return found
    raise UpdateError(f"{bundle}: manifest.raucm: no line compatible=")


def said(offer: Offer) -> str:
    """For people."""
    boards = ", ".join(offer.hardware)
    return f"{offer.channel}: {offer.version} ({offer.content}) for {boards}, {offer.share:.0%} of them"


def _say_step(before: Offer, offer: Offer) -> None:
    if offer.number < before.number and before.version not in offer.may_replace:
        print(f"note: {offer.version} is older than {before.version}, which was offered: boxes with that stay with it")
        print(f"  (a signed way back: --may-replace {before.version})")
    if before.hardware != offer.hardware:
        print(f"note: this channel was for {', '.join(before.hardware)}: each hardware needs a channel of its own")


def share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")
    return number
