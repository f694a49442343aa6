"""A site full of things that may not come out of it, and the search for them in whatever did."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from tests.support import clips, models
from tests.support.broker import Authority, Broker

DEVICE = "theatre-3"
PATIENT = "DOE-JANE-19610304"  # in the name of the recording, and drawn into the picture outside its field
SECRETS = {
    "the broker's password": "planted-mqtt-hunter2",
    "a camera's password": "planted-camera-pw-9",
    "a camera's key in its address": "planted-camera-key-7",
    "an address's user": "planted-camera-user",
    "the environment's": "planted-environment-5",
    "a mistaken key's": "planted-typo-4711",
}
_LINE = re.compile(r"^[A-Za-z0-9+/=]{24,}$", re.MULTILINE)


class Site:
    """Core, uplink and console of one box; `broker` is theirs, with TLS and a password. All lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority(folder)
        box = authority.issue(DEVICE)
        password = SECRETS["the broker's password"]
        self.broker = Broker(folder, tls=authority.issue("broker"), users={DEVICE: password, "ward": password})
        (folder / "mqtt-password").write_text(f"{password}\n")
        self.key = box.key
        self.secrets = SECRETS | {f"line {n} of the key": line for n, line in enumerate(_lines(box.key))}
        models.build(folder / "models" / "green")
        (folder / "pipelines").mkdir()
        busy = models.tables().replace('when = "track"', 'when = "track"\nrepeat_s = 0.5', 1)
        (folder / "pipelines" / "colonoscopy.toml").write_text(busy.replace("start_s = 2.0", "start_s = 0.0"))
        self.clip = folder / f"{PATIENT}.mkv"
        clips.encode(clips.with_field(50, polyp_from=5, polyp_to=45), self.clip)
        self.file = folder / "endoedge.toml"
        self.tables = {
            "": f'device = "{DEVICE}"\npipeline = "colonoscopy"\npipelines_dir = "pipelines"\nmodels_dir = "models"\n'
            'run_dir = "run"\n',
            "capture": f'source = "file"\npath = "{self.clip.name}"\nloop = true\n',
            "outbox": 'path = "outbox.db"\nmax_mib = 16\n',
            "console": 'state_dir = "state"\nkeys_dir = "keys"\n',
            "uplink": f'host = "127.0.0.1"\nport = {self.broker.port}\nusername = "{DEVICE}"\n'
            'password_file = "mqtt-password"\nretry_max_s = 0.5\ntelemetry_s = 1\n',
            "uplink.tls": f'ca = "{authority.ca}"\ncert = "{box.cert}"\nkey = "{box.key}"\n',
            "uplink.metrics": "port = 0\n",
        }
        self.ca = authority.ca
        self.write({})

    def write(self, changes: Mapping[str, str]) -> None:
        """The configuration, with other lines in some tables."""
        tables = self.tables | dict(changes)
        self.file.write_text("".join((f"[{name}]\n" if name else "") + text for name, text in tables.items()))

    @property
    def environment(self) -> dict[str, str]:
        return {"ENDOEDGE_PLANTED": SECRETS["the environment's"]}


def _lines(key: Path) -> list[str]:
    return _LINE.findall(key.read_text())


def found(said: Mapping[str, bytes], planted: Mapping[str, str]) -> list[str]:
    """What of `planted` stands in what was said, and where: as it is, as JSON or as base64 has it."""
    return [
        f"{what} in {where}"
        for where, content in said.items()
        for what, secret in planted.items()
        if any(form in content for form in _forms(secret))
    ]


def _forms(secret: str) -> set[bytes]:
    plain = secret.encode()
    return {plain, json.dumps(secret)[1:-1].encode(), base64.b64encode(plain).rstrip(b"=")[:-1]}
