"""What counts is on the disk before it counts. (A power cut shows it, too: `tools/faults.sh`.)"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edge.update.download import STEP
from tests.support.update_box import Place


class Order:
    """Syncs and renames, in their order: ("sync", path, length), ("rename", path, 0)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, Path, int]] = []
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._synced(getattr(os, name)))
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._renamed(getattr(os, name)))

    def _synced(self, real: Any) -> Any:
        def sync(number: int) -> None:
            real(number)
            self.done.append(("sync", Path(f"/proc/self/fd/{number}").readlink(), os.fstat(number).st_size))

        return sync

    def _renamed(self, real: Any) -> Any:
        def rename(old: Any, new: Any) -> None:
            real(old, new)
            self.done.append(("rename", Path(new), 0))

        return rename

    def synced(self, before: int) -> set[Path]:
        return {path for what, path, _ in self.done[:before] if what == "sync"}

    def at(self, name: str) -> int:
        """When that name was made."""
        return next(i for i, (what, path, _) in enumerate(self.done) if what == "rename" and path.name == name)


def test_a_set_of_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.release("1.2.0")
    box, order = place.box(), Order(monkeypatch)
    for version in ("1.2.0", "1.3.0"):
        place.release(version)
        order.done.clear()
        box.check(place.folder)
        current = (box.folder / "tuf" / "current").resolve()
        before = order.synced(order.at("current"))
        assert before >= {current, *(path for path in current.rglob("*") if not path.is_symlink())}
        assert order.done[-1][:2] == ("sync", box.folder / "tuf")


def test_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(2 * STEP + 1)
    place = Place(tmp_path)
    place.release("1.2.0", bundle=content)
    box = place.box()
    offer, order = box.check(place.folder).offer, Order(monkeypatch)
    whole = box.client.download(offer, str(place.folder), lambda _have, _size: None)
    lengths = [length for what, path, length in order.done if what == "sync" and path.suffix == ".part"]
    assert lengths == [STEP, 2 * STEP, len(content)]
    assert order.done[-1][:2] == ("sync", whole.parent)
    assert order.at(whole.name) == len(order.done) - 2
