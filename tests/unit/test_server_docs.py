"""docs/server.md against server/config.py: every key, with its default."""

from __future__ import annotations

import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("pydicom", reason="the server extra is not installed")

from server.config import Config, load
from server.export.send import Pacs, Web

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
AS_ANOTHER = {"export.stow": Web, "worklist.dicom": Pacs}  # said to have the keys of another table


def keys(kind: type[msgspec.Struct], before: str = "") -> Iterator[tuple[str, str]]:
    """Each key and its default as TOML; "" none."""
    hints = typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        name = before + field.name
        inner = struct_of(hints[field.name])
        if name in AS_ANOTHER:
            assert inner is not None
            assert issubclass(inner, AS_ANOTHER[name])
            yield name, ""
        elif inner is not None:
            yield from keys(inner, f"{name}.")
        else:
            yield name, default(field)


def struct_of(hint: Any) -> type[msgspec.Struct] | None:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)


def default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return ""
    return json.dumps(list(field.default) if isinstance(field.default, tuple) else field.default)


def test_every_key_is_in_the_table_with_its_default() -> None:
    table = {
        key: told.strip("`") for key, told in re.findall(r"^\| `([a-z_.]+)` \| (`[^|]*`|) ?\|", PAGE, re.MULTILINE)
    }
    assert table == dict(keys(Config))


def test_the_example_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "server.toml").write_text(example)
    (tmp_path / "fhir-token").write_text("secret\nsecond line\n")
    config = load(tmp_path / "server.toml")
    assert config.export.fhir is not None
    assert (config.export.fhir.token, config.export.pacs and config.export.pacs.ca) == (
        "secret",
        str(tmp_path / "hospital-ca.pem"),
    )
    assert tomllib.loads(example)["retention"]["days"] == config.retention.days
