"""The whole way with the real tools: keys, repository, bundle, publication, stick, rotation, revocation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME

from edge.errors import UpdateError
from edge.release import Release
from edge.update.offer import Offer
from tests.contract.test_release_repository import Reader
from tests.support import releases
from tests.support.releases import HARDWARE, run
from tools.release import image, keyring, repository, roots, sign, signers

pytestmark = [pytest.mark.skipif(bool(releases.missing()), reason=releases.missing()), pytest.mark.timeout(300)]

BOX = "[system]\ncompatible={hardware}\nbootloader=noop\n[keyring]\npath={ring}\ncheck-purpose=codesign\n{more}"


class Walk(NamedTuple):
    keys: Path
    repo: Path
    folder: Path

    def image(self, version: str, **said: object) -> Path:
        """A release image, small: what it is made of is test_release_build's matter."""
        return written(self.folder / f"endoedge-{version}.img", version, **said)

    def bundle(self, version: str, **said: object) -> Path:
        img = self.image(version, **said)
        assert run("sign", img, "--hardware", HARDWARE, "--keys", self.keys, "--to", self.folder / "signed") == 0
        [made] = (self.folder / "signed").glob(f"{version}-*.raucb")
        return made

    def publish(self, version: str, *words: object, **said: object) -> Offer:
        given = ("--bundle", self.bundle(version, **said), "--channel", "stable", "--keys", self.keys, *words)
        assert run("publish", self.repo, *given) == 0
        return repository.offers(self.repo)["stable"]

    def reader(self, name: str = "box") -> Reader:
        return Reader(self.repo, self.folder / name)


def written(img: Path, version: str, **said: object) -> Path:
    folder = img.with_suffix("")
    folder.mkdir()
    release = {"version": version, "hardware": [HARDWARE], **said}
    (folder / "release.json").write_text(json.dumps(release))
    (folder / "content").write_bytes(os.urandom(20_000))
    image.squash(folder, img, 1)
    return img


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("walk")
    assert run("keys", "new", "--to", folder / "keys") == 0
    assert run("init", folder / "repo", "--keys", folder / "keys") == 0
    return Walk(folder / "keys", folder / "repo", folder)


@pytest.fixture
def walk(began: Walk, tmp_path: Path) -> Walk:
    for name in ("keys", "repo"):
        shutil.copytree(began.folder / name, tmp_path / name)
    return Walk(tmp_path / "keys", tmp_path / "repo", tmp_path)


def accepts(bundle: Path, ring: Path, more: str = "check-crl=true\n", hardware: str = HARDWARE) -> str:
    """ "" or why a box's RAUC refuses it."""
    config = ring.parent / "box.conf"
    config.write_text(BOX.format(hardware=hardware, ring=ring, more=more))
    done = subprocess.run(["rauc", "-c", config, "info", bundle], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


# ------------------------------------------------------------------------------------------------- keys new


def test_private_keys_are_nobody_else_s(walk: Walk) -> None:
    private = sorted(walk.keys.rglob("key.pem"))
    assert len(private) == 3 + 3 + 2
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in private} == {0o700}
    assert not [path for path in (walk.keys / "for-boxes").iterdir() if b"PRIVATE" in path.read_bytes()]
    assert {path.name for path in (walk.keys / "for-boxes").iterdir()} == {"release-ca.pem", "root.json"}


def test_keys_are_never_written_over(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in walk.keys.rglob("*") if path.is_file()}
    assert run("keys", "new", "--to", walk.keys) == 1
    assert "are there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in walk.keys.rglob("*") if path.is_file()} == before


def test_certificates_are_what_rauc_asks_for(walk: Walk) -> None:
    said = {
        name: subprocess.run(
            ["openssl", "x509", "-noout", "-text", "-in", keyring.place(walk.keys, name) / "certificate.pem"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("ca", "signing")
    }
    assert "CA:TRUE, pathlen:0" in said["ca"]
    assert "CA:FALSE" in said["signing"]
    assert "Code Signing" in said["signing"]
    assert all("ecdsa-with-SHA256" in text and "NIST CURVE: P-256" in text for text in said.values())


def test_a_passphrase_is_for_all_but_the_online_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signers.PASSPHRASE, "not 1234")
    keys, repo = tmp_path / "keys", tmp_path / "repo"
    assert run("keys", "new", "--to", keys, "--root", "1", "--threshold", "1") == 0
    assert {at.parent.name for at in keys.rglob("key.pem") if not signers.encrypted(at)} == {"snapshot", "timestamp"}
    assert run("init", repo, "--keys", keys) == 0
    img = written(tmp_path / "x.img", "1.0.0")
    assert run("sign", img, "--hardware", HARDWARE, "--keys", keys, "--to", tmp_path) == 0
    assert run("keys", "rotate", "--role", "signing", "--keys", keys) == 0
    assert run("keys", "renew", repo, "--keys", keys) == 0
    monkeypatch.delenv(signers.PASSPHRASE)
    assert run("refresh", repo, "--keys", keys) == 0
    assert run("keys", "renew", repo, "--keys", keys) == 1
    monkeypatch.setenv(signers.PASSPHRASE, "wrong")
    with pytest.raises(UpdateError, match="wrong passphrase"):
        signers.load(keys / "offline/root-1/key.pem")


# ---------------------------------------------------------------------------------------- sign and publish


def test_from_an_image_to_a_box(walk: Walk) -> None:
    offer = walk.publish(
        "1.2.0",
        "--share",
        "0.1",
        "--at-least",
        "1.0",
        "--consent",
        changes="New.",
        clinical="More.",
        content="model",
        system=2,
    )
    assert walk.reader().offer() == offer
    assert (offer.version, offer.hardware, offer.content, offer.system) == ("1.2.0", (HARDWARE,), "model", 2)
    assert (offer.share, offer.at_least, offer.consent) == (0.1, "1.0", True)
    assert (offer.changes, offer.clinical) == ("New.", "More.")
    bundle = walk.repo / offer.bundle.url
    assert repository.described(bundle, "1.2.0", HARDWARE) == offer.bundle
    assert accepts(bundle, walk.keys / "for-boxes" / "release-ca.pem") == ""
    with image.inside(bundle) as found:
        assert image.sha256(found) == image.sha256(walk.folder / "endoedge-1.2.0.img")


def test_verity_bundles_are_read_the_same_way(walk: Walk) -> None:
    img = walk.image("1.2.0")
    words = ("--keys", walk.keys, "--format", "verity", "--to", walk.folder / "verity")
    assert run("sign", img, "--hardware", HARDWARE, *words) == 0
    [bundle] = (walk.folder / "verity").iterdir()
    assert run("publish", walk.repo, "--bundle", bundle, "--channel", "stable", "--keys", walk.keys) == 0
    assert repository.offers(walk.repo)["stable"].version == "1.2.0"


def test_other_hardware_is_refused(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    img = walk.image("1.2.0")
    assert run("sign", img, "--hardware", "endoedge-jetson", "--keys", walk.keys, "--to", walk.folder / "x") == 1
    assert f"it is for {HARDWARE}, not endoedge-jetson" in capsys.readouterr().err
    made = sign.bundle(
        img,
        "1.2.0",
        "endoedge-jetson",
        key=str(walk.keys / "release/signing/key.pem"),
        certificate=walk.keys / "release/signing/certificate.pem",
        to=walk.folder,
    )
    assert run("publish", walk.repo, "--bundle", made, "--channel", "stable", "--keys", walk.keys) == 1
    assert "signed for endoedge-jetson" in capsys.readouterr().err
    assert repository.offers(walk.repo) == {}


def test_what_boxes_would_refuse_is_not_left_behind(walk: Walk, tmp_path: Path) -> None:
    """Signed with another authority's certificate."""
    assert run("keys", "new", "--to", tmp_path / "others") == 0
    at = tmp_path / "others/release/signing"
    words = ("--key", f"signing={at}/key.pem", "--cert", at / "certificate.pem", "--to", tmp_path / "out")
    img, ring = walk.image("1.2.0"), walk.keys / "for-boxes/release-ca.pem"
    assert run("sign", img, "--hardware", HARDWARE, *words, "--ca", ring) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert run("sign", img, "--hardware", HARDWARE, *words) == 0


def test_shares_grow_and_a_way_back_is_signed(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    walk.publish("1.3.0", "--share", "0.1")
    assert run("share", walk.repo, "--channel", "stable", "--share", "0.5", "--keys", walk.keys) == 0
    assert walk.reader().offer() == repository.offers(walk.repo)["stable"]
    assert repository.offers(walk.repo)["stable"].share == 0.5
    offer = walk.publish("1.2.0", "--may-replace", "1.3.0")
    assert offer.may_replace == ("1.3.0",)
    assert "note" not in capsys.readouterr().out
    walk.publish("1.1.0")
    assert "1.1.0 is older than 1.2.0" in capsys.readouterr().out
    assert run("publish", walk.repo, "--yank", "--channel", "stable", "--keys", walk.keys) == 0
    assert walk.reader().offer() is None


def test_the_status_says_what_ends(
    walk: Walk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = walk.publish("1.2.0")
    assert run("status", walk.repo) == 0
    assert f"stable: 1.2.0 (all) for {HARDWARE}, 100% of them" in capsys.readouterr().out
    with (walk.repo / offer.bundle.url).open("r+b") as file:
        file.write(b"x")
    assert run("status", walk.repo) == 1
    assert "! " in capsys.readouterr().out
    (walk.repo / offer.bundle.url).unlink()
    assert run("status", walk.repo) == 1
    walk.publish("1.2.1")
    later = repository.now() + timedelta(days=8)
    monkeypatch.setattr(repository, "now", lambda: later)
    assert run("status", walk.repo) == 1
    assert "! timestamp ends in 6.0 days: tools/release.sh refresh" in capsys.readouterr().out


def test_the_daily_job_needs_the_online_keys_alone(walk: Walk) -> None:
    walk.publish("1.2.0")
    online = walk.folder / "cron"
    shutil.copytree(walk.keys / "online", online / "online")
    before = repository.read(walk.repo).timestamp.signed.version
    assert run("refresh", walk.repo, "--keys", online) == 0
    assert repository.read(walk.repo).timestamp.signed.version == before + 1
    assert walk.reader().offer() is not None
    assert run("publish", walk.repo, "--yank", "--channel", "stable", "--keys", online) == 1


# ------------------------------------------------------------------------------------------------------ stick


def test_a_stick_has_all_that_a_new_box_needs(walk: Walk) -> None:
    assert run("keys", "renew", walk.repo, "--keys", walk.keys) == 0
    offer = walk.publish("1.2.0")
    stick = walk.folder / "stick"
    assert run("stick", walk.repo, "--channel", "stable", "--to", stick) == 0
    assert Reader(walk.repo, walk.folder / "a").offer() == offer
    reader = Reader(stick, walk.folder / "b")
    assert reader.offer() == offer
    assert repository.described(stick / offer.bundle.url, "1.2.0", HARDWARE) == offer.bundle
    assert {path.name for path in stick.iterdir()} == {"metadata", "targets", "bundles"}
    assert run("stick", walk.repo, "--channel", "stable", "--to", stick) == 1
    assert run("stick", walk.repo, "--channel", "none", "--to", walk.folder / "x") == 1


def test_a_stick_that_lasts(walk: Walk) -> None:
    """The repository goes on after its numbers: a box that read the stick reads the network again, and not the other
    way round."""
    offer, stick = walk.publish("1.2.0"), walk.folder / "stick"
    words = ("--channel", "stable", "--to", stick, "--days", "90", "--keys", walk.keys)
    assert run("stick", walk.repo, *words) == 0
    on_stick, online = repository.read(stick), repository.read(walk.repo)
    assert (on_stick.timestamp.signed.expires - repository.now()).days in (89, 90)
    assert (online.timestamp.signed.expires - repository.now()).days in (13, 14)
    assert online.timestamp.signed.version == on_stick.timestamp.signed.version + 1
    box = Reader(stick, walk.folder / "kept")
    assert box.offer() == offer
    box.folder = walk.repo
    assert box.offer() == offer


# ----------------------------------------------------------------------------------------- rotate and revoke


@pytest.mark.parametrize("name", ["targets", "snapshot", "timestamp", "root-2"])
@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_another_key(verb: str, name: str, walk: Walk) -> None:
    walk.publish("1.2.0")
    box = walk.reader()
    offer = box.offer()
    old = keyring.public(keyring.place(walk.keys, name)).keyid
    assert run("keys", verb, "--role", name, "--repository", walk.repo, "--keys", walk.keys) == 0
    root = repository.newest_root(walk.repo).signed
    assert root.version == 2
    assert old not in root.keys
    assert len(root.keys) == 6 - (verb == "revoke" and name == "root-2")
    assert box.offer() == offer
    assert walk.publish("1.3.0") == box.offer() == walk.reader("new").offer()
    assert run("refresh", walk.repo, "--keys", walk.keys) == 0
    assert run("keys", "renew", walk.repo, "--keys", walk.keys) == 0
    assert (walk.keys / "for-boxes/root.json").read_bytes() == (walk.repo / "metadata/3.root.json").read_bytes()


def test_a_root_that_needs_two_people(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has one key, and what they need of the repository is small."""
    walk.publish("1.2.0")
    safe = walk.folder / "safe"
    for name in ("root-1", "root-2", "root-3"):
        shutil.copytree(walk.keys / "offline" / name, safe / name)
        (walk.keys / "offline" / name / "key.pem").unlink()
    words = ("--repository", walk.repo, "--keys", walk.keys, "--by", safe / "root-1" / "key.pem")
    assert run("keys", "rotate", "--role", "timestamp", *words) == 3
    assert "1 more of version 1's keys" in capsys.readouterr().out
    assert run("refresh", walk.repo, "--keys", walk.keys) == 0  # the daily job goes on with the old key
    assert walk.reader().offer() is not None
    elsewhere = walk.folder / "elsewhere"
    shutil.copytree(walk.repo / "metadata", elsewhere / "metadata")
    shutil.copy(walk.repo / roots.DRAFT, elsewhere)
    assert run("keys", "sign", elsewhere, "--by", safe / "root-3" / "key.pem") == 3
    assert "signed with timestamp's key" in capsys.readouterr().out
    shutil.copy(elsewhere / roots.DRAFT, walk.repo)
    assert run("keys", "sign", walk.repo, "--keys", walk.keys) == 0
    assert not (walk.repo / roots.DRAFT).exists()
    assert walk.reader().offer() == walk.reader("new").offer() is not None
    assert run("refresh", walk.repo, "--keys", walk.keys) == 0


def test_the_last_root_keys_are_not_revoked(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--repository", walk.repo, "--keys", walk.keys)
    assert run("keys", "revoke", "--role", "root-3", *words) == 0
    assert run("keys", "revoke", "--role", "root-2", *words) == 1
    assert "root: 1 keys would be left, 2 have to sign" in capsys.readouterr().err


def test_another_certificate_and_a_revoked_one(walk: Walk) -> None:
    ring, older = walk.keys / "for-boxes/release-ca.pem", walk.bundle("1.2.0")
    assert run("keys", "rotate", "--role", "signing", "--keys", walk.keys) == 0
    old = walk.bundle("1.3.0")
    assert [accepts(one, ring) for one in (older, old)] == ["", ""]
    assert run("keys", "revoke", "--role", "signing", "--keys", walk.keys) == 0
    new = walk.bundle("1.4.0")
    assert "revoked" in accepts(old, ring)
    assert accepts(old, ring, more="") == ""  # it is `check-crl` that counts
    assert [accepts(one, ring) for one in (older, new)] == ["", ""]
    assert len([*(walk.keys / "release").glob("signing.retired-*")]) == 2


def test_the_first_certificate_can_be_revoked_later(walk: Walk) -> None:
    ring, older = walk.keys / "for-boxes/release-ca.pem", walk.bundle("1.2.0")
    first = keyring.public(walk.keys / "release/signing").keyid[:8]
    assert run("keys", "rotate", "--role", "signing", "--keys", walk.keys) == 0
    new = walk.bundle("1.3.0")
    assert run("keys", "revoke", "--role", "signing", "--old", first, "--keys", walk.keys) == 0
    assert "revoked" in accepts(older, ring)
    assert accepts(new, ring) == ""


# ------------------------------------------------------------------------------------------------ in hardware

ENGINE = Path("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so")
LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token in software with EC keys, and the first half of their URIs."""
    if not (LIBRARY.exists() and shutil.which("pkcs11-tool") and "pkcs11" in engines()):
        pytest.skip("not installed: softhsm2, opensc, libengine-pkcs11-openssl")
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\n")
    for name, value in {"SOFTHSM2_CONF": settings, signers.MODULE: LIBRARY, signers.PIN: "2468"}.items():
        monkeypatch.setenv(name, str(value))
    words = ["--init-token", "--free", "--label", "keys", "--pin", "2468", "--so-pin", "13579"]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    for number, name in enumerate(("root-1", "targets", "timestamp", "ca", "signing"), 1):
        words = ["--module", str(LIBRARY), "--login", "--pin", "2468", "--token-label", "keys", "--keypairgen"]
        words += ["--key-type", "EC:prime256v1", "--id", f"{number:02}", "--label", name]
        subprocess.run(["pkcs11-tool", *words], check=True, capture_output=True)
    return "pkcs11:token=keys;object="


def engines() -> str:
    return subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True, text=True, check=False).stdout


def test_keys_may_be_in_hardware(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TUF's and RAUC's, by the same URIs; python-tuf's client and RAUC accept what they sign."""
    keys, repo = tmp_path / "keys", tmp_path / "repo"
    names = ("root-1", "targets", "timestamp", "ca", "signing")
    hardware = [word for name in names for word in ("--hardware", f"{name}={token}{name}")]
    assert run("keys", "new", "--to", keys, "--root", "1", "--threshold", "1", *hardware) == 0
    assert {at.parent.name for at in keys.rglob("key.pem")} == {"snapshot"}
    assert run("init", repo, "--keys", keys) == 0
    walk = Walk(keys, repo, tmp_path)
    offer = walk.publish("1.2.0")
    assert ("ecdsa", "ecdsa-sha2-nistp256") in KEY_FOR_TYPE_AND_SCHEME
    assert walk.reader().offer() == offer
    assert accepts(repo / offer.bundle.url, keys / "for-boxes/release-ca.pem") == ""
    assert run("keys", "revoke", "--role", "signing", "--keys", keys, "--hardware", f"signing={token}signing") == 0
    assert "revoked" in accepts(repo / offer.bundle.url, keys / "for-boxes/release-ca.pem")
    assert run("keys", "rotate", "--role", "targets", "--repository", repo, "--keys", keys) == 0
    assert walk.reader().offer() == offer
    monkeypatch.setenv(signers.PIN, "0000")
    with pytest.raises(UpdateError, match=rf"{signers.MODULE} is .*, {signers.PIN} is set"):
        signers.load(f"{token}timestamp").sign(b"x")


def test_hardware_that_is_not_there_is_said() -> None:
    with pytest.raises(UpdateError, match="openssl pkey"):
        signers.load("pkcs11:token=none;object=none")


def test_a_release_says_what_it_is(walk: Walk) -> None:
    found = image.release(walk.image("1.2.0", changes="x"))
    assert found == Release(version="1.2.0", hardware=(HARDWARE,), changes="x", package=found.package)
