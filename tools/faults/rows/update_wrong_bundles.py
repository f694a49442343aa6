"""What is offered is not for this box: of another board, changed, cut off, signed by nobody it trusts, older."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from edge.update.offer import Offer
from tests.support.broker import Authority, Identity
from tools.faults import mounts, updates
from tools.faults.box import LostError, verdict
from tools.faults.updates import Life, Source
from tools.ota.releases import CHANNEL, HARDWARE
from tools.release import repository

TITLE = (
    "a bundle of another board, changed, cut off, of another signer or an expired one, of an older version, or not the "
    "one that the offer names"
)
PROMISE = "it is refused, the updater says why, no slot is touched, and the next good release runs and holds"
TIMES = 28

SAYS_WITHIN_S = 40.0

missing = updates.missing


class Scene(NamedTuple):
    source: Source
    life: Life
    others: Authority  # who signs, too, but not for this box
    late: Identity  # of ours, and expired


def play(folder: Path, times: int, dice: random.Random) -> Iterator[str]:
    with updates.living(folder) as (source, life):
        scene = Scene(source, life, Authority(folder, "others"), _expired(source, folder))
        kinds: list[str] = []
        for _ in range(times):
            kinds = kinds or dice.sample(list(KINDS), len(KINDS))
            yield verdict(_round, scene, kinds[0], dice)
            kinds = kinds[1:]


def _round(scene: Scene, kind: str, dice: random.Random) -> None:
    source, life = scene.source, scene.life
    wrong, words = KINDS[kind]
    before = _slots(life)
    version = wrong(scene, f"{source.next_version}.dev{dice.randrange(1000)}", dice)
    life.want(version)
    try:
        life.wait(lambda: words in _said(life), f"{kind}: expected that it says {words!r}", SAYS_WITHIN_S)
    finally:
        life.want("")
    if _slots(life) != before:
        raise LostError(f"{kind}: a slot was touched")
    good = source.publish()
    life.want(good)
    life.arrive(good)


def _slots(life: Life) -> tuple[object, ...]:
    store = life.box.store
    return life.box.boot_state(), *((store / f"{name}.img").read_bytes() for name in "AB")


def _said(life: Life) -> str:
    now = life.now
    return "; ".join([now.trouble, *now.refused, *(one.words for one in now.answers)]) if now else ""


# ---------------------------------------------------------------------------------------------- what is wrong with it


def _of_another_board(scene: Scene, version: str, _dice: random.Random) -> str:
    return _publish(scene, version, hardware="endoedge-another")


def _changed(scene: Scene, version: str, dice: random.Random) -> str:
    _publish(scene, version)
    with _served(scene, version).open("r+b") as file:
        file.seek(dice.randrange(updates.BALLAST))
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
    return version


def _cut_off(scene: Scene, version: str, dice: random.Random) -> str:
    _publish(scene, version)
    os.truncate(_served(scene, version), dice.randrange(updates.BALLAST))
    return version


def _of_another_signer(scene: Scene, version: str, _dice: random.Random) -> str:
    return _publish(scene, version, signed_by=scene.others.issue("somebody"))


def _of_an_expired_one(scene: Scene, version: str, _dice: random.Random) -> str:
    return _publish(scene, version, signed_by=scene.late)


def _older(scene: Scene, _version: str, dice: random.Random) -> str:
    return _publish(scene, f"0.9.{dice.randrange(1_000_000)}")


def _another(scene: Scene, version: str, dice: random.Random) -> str:
    """The offer names one, and at its address lies another, signed as well."""
    publisher = scene.source.publisher
    _publish(scene, version)
    signed = repository.described(_served(scene, version), version, HARDWARE)
    other = f"{version}{dice.randrange(10)}"
    _publish(scene, other)
    bundle = replace(signed, url=f"bundles/{_served(scene, other).name}")
    offer = Offer(version=version, channel=CHANNEL, hardware=(HARDWARE,), bundle=bundle)
    repository.publish(publisher.repository, offer, None, publisher.keys)
    return version


def _publish(scene: Scene, version: str, **otherwise: Any) -> str:
    publisher = scene.source.publisher
    image = scene.source.build(version)
    bundle = publisher.bundle(image, version, **otherwise)
    publisher.publish(bundle, version)
    image.unlink()
    bundle.unlink()
    return version


def _served(scene: Scene, version: str) -> Path:
    (found,) = (scene.source.publisher.repository / "bundles").glob(f"{version}-*")
    return found


def _expired(source: Source, folder: Path) -> Identity:
    """Signed by the one whom the box trusts; its time is over."""
    cert, key, asked = (folder / f"late.{suffix}" for suffix in ("pem", "key", "csr"))
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=late")
    mounts.run("openssl", "req", "-new", *new, "-keyout", key, "-out", asked)
    by = ("-CA", source.publisher.ca, "-CAkey", source.publisher.key, "-CAcreateserial")
    mounts.run("openssl", "x509", "-req", "-in", asked, *by, "-days", "-1", "-out", cert)
    return Identity(cert, key)


KINDS: dict[str, tuple[Callable[[Scene, str, random.Random], str], str]] = {
    "another board": (_of_another_board, "ompatible"),
    "changed": (_changed, "another one than was signed for"),
    "cut off": (_cut_off, "were signed for"),
    "another signer": (_of_another_signer, "signature"),
    "expired": (_of_an_expired_one, "expired"),
    "older": (_older, "it is older than"),
    "another bundle": (_another, "signed for"),
}
