"""The support bundle: a tar.gz of what a support engineer needs. No picture, nothing of a patient, no secret.

It holds what is listed in `make` and nothing else: nothing is packed because it lies in some folder.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import tarfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from edge import release
from edge.config import read_toml
from edge.console import redact
from edge.console.box import Box
from edge.errors import ConfigError

# Of the core's status: what is said of the patient on the table. It helps nobody to mend a box.
CLINICAL = ("view", "detections", "best_score", "classes", "landmarks")
_AUDIT_MOST = 1 << 20


class Bundle(NamedTuple):
    name: str
    content: bytes
    sha256: str


def make(box: Box, journal: Sequence[str], warnings: Sequence[str], faults: Sequence[str], audit: bytes) -> Bundle:
    """`journal`, and of it the `warnings` (and worse), as lines; `faults` are those of now."""
    configuration, secrets = site(box)
    trees = {
        "versions.json": _versions(box),
        "configuration.json": configuration,
        "status.json": _statuses(box),
    }
    texts = {
        "faults.txt": "\n".join(faults),
        "fault-history.txt": "\n".join(warnings),
        "journal.txt": "\n".join(journal),
        "audit.log": audit[-_AUDIT_MOST:].decode("utf-8", "replace"),
    }
    members = {name: _json(redact.cleaned(tree, secrets)) for name, tree in trees.items()}
    members |= {name: redact.scrubbed(text, secrets).encode() for name, text in texts.items()}
    digests = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    stem = f"endoedge-{box.device}-{box.clock.boot[:8]}-{box.clock.now_ns() // 1_000_000_000}"
    packed = _packed(stem, {**members, "SHA256SUMS": digests.encode()}, int(box.clock.wall().at_s))
    return Bundle(f"{stem}.tar.gz", packed, hashlib.sha256(packed).hexdigest())


def site(box: Box) -> tuple[dict[str, Any] | str, set[str]]:
    """The site's file as tables, and what of it may be said nowhere: secrets, and a recording's name. A file that is no
    TOML is not packed: nobody can say what of it is a secret; what looks like one is looked for all the same."""
    base = box.config_file.parent
    try:
        table = read_toml(box.config_file)
    except ConfigError as exc:
        said = redact.settings_in(box.config_text())
        return f"not included: {exc}", redact.secrets_of(said, base) | redact.recordings_of(said, base)
    return table, redact.secrets_of(table, base) | redact.recordings_of(table, base)


def _versions(box: Box) -> dict[str, Any]:
    system = platform.uname()
    return {
        "device": box.device,
        "endoedge": release.version(),
        "python": platform.python_version(),
        "kernel": f"{system.release} {system.machine}",
        "system": box.text("etc/os-release"),
        "jetson_linux": box.text("etc/nv_tegra_release"),
        "boot": box.clock.boot,
        "up_s": box.clock.now_ns() // 1_000_000_000,
        "clock": str(box.clock.wall()),
        "clock_trusted": box.clock.wall().trusted,
    }


def _statuses(box: Box) -> dict[str, Any]:
    snapshot: dict[str, Any] = msgspec.json.decode(box.snapshot())
    core = snapshot.get("core")
    if isinstance(core, dict):
        snapshot["core"] = {key: value for key, value in core.items() if key not in CLINICAL}
    uplink = snapshot.get("uplink")
    if isinstance(uplink, dict) and isinstance(uplink.get("reports"), dict):
        uplink["reports"]["aside"] = len(uplink["reports"].get("aside", ()))  # of procedures: how many, not which
    return snapshot


def _packed(stem: str, members: dict[str, bytes], at_s: int) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=at_s) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{stem}/{name}")
            info.size, info.mtime, info.mode = len(content), at_s, 0o644
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
