"""Gives the release that a channel offers to more of the boxes, or to fewer: who has it keeps it."""

from __future__ import annotations

import argparse

import msgspec

from edge.errors import UpdateError
from tools.release import keyring, options, publish, repository

HELP = "raise a rollout's share"


def arguments(parser: argparse.ArgumentParser) -> None:
    options.repository(parser)
    options.keys(parser)
    parser.add_argument("--channel", required=True, metavar="C")
    parser.add_argument("--share", type=publish.share, required=True, metavar="0..1", help="of the boxes")


def main(asked: argparse.Namespace) -> int:
    before = repository.offers(asked.repository).get(asked.channel)
    if before is None:
        raise UpdateError(f"{asked.repository}: nothing is offered in channel {asked.channel}")
    offer = msgspec.structs.replace(before, share=asked.share)
    repository.publish(asked.repository, offer, None, keyring.release_keys(asked.keys, dict(asked.key)))
    print(f"{asked.channel}: {offer.version} from {before.share:.0%} to {offer.share:.0%} of the boxes")
    return 0
