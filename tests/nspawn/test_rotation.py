"""The lines of docs/security.md that renew a key, a certificate and a password, typed on a box."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nspawn.machine import CORE, ETC, PASSWORD, ROOT, RUN, SITE, UPLINK, Machine

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
MOSQUITTO = Path("etc/mosquitto/mosquitto.conf")
AUTHORITY = """
mkdir -p /root/ca /etc/mosquitto/tls && cd /root/ca
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new -keyout ca.key -out ca.pem -subj /CN=authority -days 2
openssl req $new -keyout broker.key -out broker.csr -subj /CN=broker
printf 'subjectAltName=IP:127.0.0.1' >san
openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out broker.pem
install -o mosquitto -m 600 broker.key broker.pem ca.pem /etc/mosquitto/tls
install -m 644 ca.pem /etc/endoedge/ca.pem
"""
SIGN = "openssl x509 -req -in /root/box-1.csr -CA /root/ca/ca.pem -CAkey /root/ca/ca.key -days 2 -out /root/box-1.pem"
TLS_BROKER = """per_listener_settings true
listener 1883 127.0.0.1
cafile /etc/mosquitto/tls/ca.pem
certfile /etc/mosquitto/tls/broker.pem
keyfile /etc/mosquitto/tls/broker.key
require_certificate true
use_identity_as_username true
persistence false
"""
TLS_SITE = (
    SITE.replace('username = "box"\npassword_file = "credentials/mqtt-password"\n', "")
    + """[uplink.tls]
ca = "/etc/endoedge/ca.pem"
cert = "/etc/endoedge/box-1.pem"
key = "/etc/endoedge/credentials/tls-key"
"""
)


def typed(box: Machine, block: str, **variables: str) -> str:
    """A block of the page, in a root's shell."""
    found = re.search(rf"^```sh {block}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, block
    return shell(box, found[1], **variables)


def shell(box: Machine, lines: str, **variables: str) -> str:
    path = ["PATH=/opt/endoedge/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    return box.run("env", *path, *(f"{k}={v}" for k, v in variables.items()), "bash", "-euo", "pipefail", "-c", lines)


def connected(box: Machine) -> bool:
    """The uplink that runs now, not one before it."""
    try:
        said = json.loads(box.read(RUN / "uplink.json"))
    except ValueError:
        return False
    return bool(said["connected"] and said["pid"] == box.pid(UPLINK))


@pytest.fixture
def restored(box: Machine) -> Iterator[Machine]:
    """Afterwards it is as the other tests know it."""
    places = (MOSQUITTO, Path("etc/mosquitto/box.passwords"), ETC / "endoedge.toml", ETC / "credentials/mqtt-password")
    before = {place: (box.root / place).read_bytes() for place in places}
    yield box
    for place, content in before.items():
        (box.root / place).write_bytes(content)
    box.run("systemctl", "restart", "mosquitto")
    box.reset()


def test_a_new_password(restored: Machine) -> None:
    box = restored
    box.run("mosquitto_passwd", "-b", "/etc/mosquitto/box.passwords", "box", "another-4712")
    box.run("systemctl", "restart", "mosquitto")
    old = box.pid(UPLINK)
    typed(box, "password", NEW_PASSWORD="another-4712")
    box.wait(lambda: connected(box), "the uplink is connected with the new password")
    assert box.pid(UPLINK) != old
    assert box.run("stat", "-c", "%a %U", "/etc/endoedge/credentials/mqtt-password") == "600 root"
    assert PASSWORD not in box.run("cat", "/etc/endoedge/credentials/mqtt-password")


def test_a_new_key_and_certificate(restored: Machine) -> None:
    """Twice: the first one, and the one that follows it."""
    box = restored
    shell(box, AUTHORITY)
    (box.root / MOSQUITTO).write_text(TLS_BROKER)
    (box.root / ETC / "endoedge.toml").write_text(TLS_SITE)
    box.run("systemctl", "restart", "mosquitto", CORE)
    box.wait(lambda: box.active(CORE), "the core plays again")
    keys = []
    for _ in range(2):
        typed(box, "request")
        shell(box, SIGN)
        typed(box, "renew")
        box.wait(lambda: connected(box), "the uplink is connected with the new certificate")
        keys.append(box.run("cat", "/etc/endoedge/credentials/tls-key"))
    assert keys[0] != keys[1]
    assert box.run("stat", "-c", "%a %U", "/etc/endoedge/credentials/tls-key") == "600 root"
