"""A box that asks an update repository, and what it holds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from edge.errors import UpdateError
from edge.update.client import Checked, Client
from edge.update.sets import Sets, _contents
from tests.support.tuf_repository import START, Repository


class Box:
    """Each question is asked by a client of its own, as after a restart."""

    def __init__(self, folder: Path, root: bytes, built_at: datetime = START, ca: Path | None = None) -> None:
        self.folder, self._root, self._built_at, self._ca = folder, root, built_at, ca

    @property
    def client(self) -> Client:
        return Client(self.folder, self._root, self._built_at, self._ca)

    def check(self, base: object, now: datetime | None = START, channel: str = "stable") -> Checked:
        return self.client.check(str(base), channel, now)

    def known(self, channel: str = "stable") -> str:
        """The version; "" for none."""
        offer = self.client.known(channel)
        return "" if offer is None else offer.version

    def refuses(self, base: object, code: str, now: datetime | None = START, channel: str = "stable") -> str:
        """The words. What the box held it still holds; a newer root may have come."""
        before, held = self.known(), self.held()
        with pytest.raises(UpdateError) as found:
            self.check(base, now, channel)
        assert found.value.code == code, found.value
        after = self.held()
        assert {name: after[name] for name in after if "root" not in name} == {
            name: held[name] for name in held if "root" not in name
        }
        assert self.known() == before
        return str(found.value)

    def held(self) -> dict[str, str | bytes]:
        """All files of what was last verified."""
        current = Sets(self.folder / "tuf").current()
        return {} if current is None else _contents(current)


class Place:
    """A repository, and where it lies."""

    def __init__(self, folder: Path, repository: Repository | None = None) -> None:
        self.folder, self.repository = folder / "repository", repository or Repository()
        self._boxes = folder / "boxes"

    def box(self, name: str = "one", built_at: datetime = START, ca: Path | None = None) -> Box:
        return Box(self._boxes / name, self.repository.first_root, built_at, ca)

    def fresh(self) -> Box:
        """One that has never seen anything: what it accepts is right in itself."""
        number = len(list(self._boxes.iterdir())) if self._boxes.is_dir() else 0
        return self.box(f"fresh-{number}")

    def release(self, version: str, **more: object) -> None:
        self.repository.offer(version, **more)  # type: ignore[arg-type]
        self.repository.publish()
        self.lay()

    def lay(self) -> Path:
        return self.repository.lay(self.folder)
