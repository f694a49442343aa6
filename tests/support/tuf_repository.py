"""An update repository that a test may spoil: signed in memory with keys made on the spot, laid down as files.

    made = Repository(); made.offer("1.2.0"); made.publish(); made.lay(folder)

Every part is there to be changed before `publish`, every file (`files`) after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

SIGNED = "x-endoedge-signed"
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
_ROLES = ("root", "timestamp", "snapshot", "targets")


class Repository:
    """`now`: when it signs. Roots are kept, all of them; of the others the versions that were published."""

    def __init__(self, now: datetime = START, hashes: bool = True) -> None:
        """`hashes`: metadata name each other by digest, and not by version alone."""
        self.now, self._hashes = now, hashes
        self.keys = {role: [CryptoSigner.generate_ed25519()] for role in _ROLES}
        self.root = Root(expires=now + timedelta(days=365), consistent_snapshot=True)
        for role, keys in self.keys.items():
            self.root.add_key(keys[0].public_key, role)
        self.timestamp, self.snapshot, self.targets = Timestamp(), Snapshot(), Targets()
        for part in (self.timestamp, self.snapshot, self.targets):
            part.version = 0  # the first that is published is 1
        self.bundles: dict[str, bytes] = {}  # by their names
        self.files: dict[str, bytes] = {}
        self.publish_root()

    @property
    def first_root(self) -> bytes:
        return self.files["metadata/1.root.json"]

    def offer(self, version: str, channel: str = "stable", bundle: bytes = b"a bundle", **more: Any) -> dict[str, Any]:
        """In the channel from the next `publish` on."""
        digest = hashlib.sha256(bundle).hexdigest()
        name = f"bundles/{version}-test-{digest[:16]}.raucb"
        said = {
            "version": version,
            "channel": channel,
            "hardware": ["endoedge-test"],
            "bundle": {"url": name, "size": len(bundle), "sha256": digest},
            **more,
        }
        self.bundles[name] = bundle
        self.target(f"{channel}.json", msgspec.json.encode(said))
        return said

    def target(self, name: str, content: bytes) -> str:
        """Any content. Returns the name of its file."""
        found = TargetFile.from_data(name, content, ["sha256"])
        self.targets.targets[name] = found
        file = f"targets/{found.hashes['sha256']}.{name}"
        self.files[file] = content
        return file

    def publish(self, days: float = 7) -> None:
        """New versions of the three, that are good for so many days, the timestamp for one at most."""
        self.publish_targets(days)
        self.publish_snapshot(days)
        self.publish_timestamp(min(days, 1))

    def publish_targets(self, days: float = 7) -> None:
        self._next(self.targets, days)
        self._put(f"{self.targets.version}.targets.json", self.targets, self.keys["targets"])

    def publish_snapshot(self, days: float = 7) -> None:
        """Of what is the newest targets' file."""
        self._next(self.snapshot, days)
        name = f"{self.targets.version}.targets.json"
        self.snapshot.meta["targets.json"] = self._meta(name, self.targets.version)
        self._put(f"{self.snapshot.version}.snapshot.json", self.snapshot, self.keys["snapshot"])

    def publish_timestamp(self, days: float = 1) -> None:
        self._next(self.timestamp, days)
        name = f"{self.snapshot.version}.snapshot.json"
        self.timestamp.snapshot_meta = self._meta(name, self.snapshot.version)
        self.timestamp.unrecognized_fields[SIGNED] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._put("timestamp.json", self.timestamp, self.keys["timestamp"])

    def rotate(self, role: str, threshold: int = 1) -> None:
        """Other keys from the next root on; `publish_root` makes it, and what they sign is signed anew by `publish`."""
        for old in self.keys[role]:
            self.root.revoke_key(old.public_key.keyid, role)
        self.keys[role] = [CryptoSigner.generate_ed25519() for _ in range(threshold)]
        for new in self.keys[role]:
            self.root.add_key(new.public_key, role)
        self.root.roles[role].threshold = threshold

    def publish_root(self, before: Sequence[CryptoSigner] = ()) -> None:
        """The first one, or the next. `before`: root's keys until now, where they are others."""
        if "metadata/1.root.json" in self.files:
            self.root.version += 1
        self._put(f"{self.root.version}.root.json", self.root, [*self.keys["root"], *before])

    def sign(self, name: str, part: Signed, keys: Sequence[CryptoSigner]) -> bytes:
        """A file under that name, whatever it says."""
        return self._put(name, part, keys)

    def lay(self, folder: Path) -> Path:
        """Exactly these files, and no others. Who reads meanwhile finds the old state or the new one."""
        wanted = {folder / name: content for name, content in (self.files | self.bundles).items()}
        for path in sorted(wanted, key=lambda path: path.name == "timestamp.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f"{path.name}.new")
            scratch.write_bytes(wanted[path])
            scratch.replace(path)
        for path in folder.rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()
        return folder

    def _next(self, part: Timestamp | Snapshot | Targets, days: float) -> None:
        part.version += 1
        part.expires = self.now + timedelta(days=days)

    def _meta(self, name: str, version: int) -> MetaFile:
        return (
            MetaFile.from_data(version, self.files[f"metadata/{name}"], ["sha256"])
            if self._hashes
            else MetaFile(version)
        )

    def _put(self, name: str, part: Signed, keys: Sequence[CryptoSigner]) -> bytes:
        metadata = Metadata(part)
        for key in keys:
            metadata.sign(key, append=True)
        self.files[f"metadata/{name}"] = content = metadata.to_bytes(JSONSerializer(compact=True))
        return content
