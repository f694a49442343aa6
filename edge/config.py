"""TOML to frozen, typed structs. Two files, two owners.

`endoedge.toml` is the site's (device, capture, uplink); `pipelines/NAME.toml` is clinical behaviour and ships with the
model. Both are read once, at start, strictly: an unknown key, a wrong type or a value out of range is a ConfigError
that names file, key and what is allowed. A table that chooses a part (`source = "file"`, `backend = "onnx"`) is read by
that part's own `Config`: name = file = config key.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

import msgspec

from edge.errors import ConfigError, EdgeError
from edge.record.config import RecordConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class OutboxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[outbox]`: where events wait until the broker has them."""

    path: str = "/var/lib/endoedge/outbox.db"
    max_mib: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 256


class DisplayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[display]`: whether the core makes pictures for `endoedge display`."""

    enabled: bool = False


class ConsoleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[console]`: which serial line `endoedge console` answers on, and whose tokens open it."""

    port: str = "/dev/ttyGS0"  # a USB gadget, a UART, any tty
    baud: Annotated[int, msgspec.Meta(ge=1200, le=4_000_000)] = 115_200  # a USB gadget has none and takes any
    keys_dir: str = "/etc/endoedge/service-keys"  # Ed25519 public keys, *.pem; without one nobody can log in
    state_dir: str = "/var/lib/endoedge-console"  # audit log and failed logins, in a folder named after the line
    idle_s: Annotated[int, msgspec.Meta(ge=30, le=3600)] = 600  # a login that is not used for so long ends


class SiteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`endoedge.toml`. Relative paths are relative to that file."""

    device: Name
    pipeline: Name
    capture: dict[str, Any]
    uplink: dict[str, Any]
    infer: dict[str, Any] = msgspec.field(default_factory=lambda: {"backend": "onnx"})
    outbox: OutboxConfig = OutboxConfig()
    record: RecordConfig = RecordConfig()
    display: DisplayConfig = DisplayConfig()
    console: ConsoleConfig = ConsoleConfig()
    update: dict[str, Any] = msgspec.field(default_factory=dict)
    run_dir: str = "/run/endoedge"
    pipelines_dir: str = ""  # default: beside the program
    models_dir: str = ""


class PipelineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pipelines/NAME.toml`. The tables of heads and rules are read by their own structs."""

    name: Name
    model: Name
    heads: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    description: str = ""
    tracks: dict[str, Any] = msgspec.field(default_factory=dict)
    view: dict[str, Any] = msgspec.field(default_factory=dict)
    procedure: dict[str, Any] = msgspec.field(default_factory=dict)
    landmarks: list[dict[str, Any]] = msgspec.field(default_factory=list)
    judgements: list[dict[str, Any]] = msgspec.field(default_factory=list)


def read_toml(path: Path, error: type[EdgeError] = ConfigError) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise error(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise error(f"{path}: is not UTF-8 text") from exc
    except tomllib.TOMLDecodeError as exc:
        raise error(f"{path}: is not valid TOML: {exc}") from exc


def decode_toml(path: Path, kind: type[T], error: type[EdgeError] = ConfigError) -> T:
    return decode(read_toml(path, error), kind, str(path), error=error)


def decode(
    table: Mapping[str, Any], kind: type[T], file: str, key: str = "", error: type[EdgeError] = ConfigError
) -> T:
    """`table`, found under `key` of `file`, as a `kind`."""
    try:
        return msgspec.convert(dict(table), kind)
    except msgspec.ValidationError as exc:
        raise error(f"{file}: {_explain(str(exc), kind, key)}") from exc


def part(package: str, table: Mapping[str, Any], selector: str, file: str, key: str) -> tuple[ModuleType, Any]:
    """The module that `table[selector]` names in `package`, and the rest of the table as that module's `Config`."""
    allowed = part_names(package)
    name = table.get(selector)
    if name not in allowed:
        said = f"is {_quoted(name)}{_hint(name, allowed)}"
        problem = f"is missing; one of {', '.join(allowed)}" if name is None else said
        raise ConfigError(f"{file}: {key}.{selector} {problem}")
    module = importlib.import_module(f"{package}.{name}")
    rest = {k: v for k, v in table.items() if k != selector}
    return module, decode(rest, module.Config, file, key)


def part_names(package: str) -> list[str]:
    """Files in `package` with an `open()`: sources in `edge.capture`, backends in `edge.infer`."""
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    return sorted(path.stem for path in folder.glob("*.py") if "\ndef open(" in path.read_text(encoding="utf-8"))


def _explain(message: str, kind: Any, key: str) -> str:
    """msgspec's message, turned round: key first, then what is wrong, then what is allowed."""
    text, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    full = ".".join(piece for piece in (key, path) if piece)
    unknown = re.match(r"Object contains unknown field `(.+)`", text)
    if unknown:
        struct = _walk(kind, path)
        allowed = [field.encode_name for field in msgspec.structs.fields(struct)] if struct else []
        name = ".".join(piece for piece in (full, unknown[1]) if piece)
        return f"unknown key {name}{_hint(unknown[1], allowed)}"
    missing = re.match(r"Object missing required field `(.+)`", text)
    if missing:
        return f"{'.'.join(piece for piece in (full, missing[1]) if piece)} is missing"
    return f"{full}: {text[0].lower()}{text[1:]}" if full else text


def _quoted(name: object) -> str:
    """A wrong name, unless it is something else by mistake: an address may have a password in it."""
    return repr(name) if isinstance(name, str) and re.fullmatch(r"[\w-]{1,32}", name) else "no name"


def _hint(name: object, allowed: list[str]) -> str:
    close = difflib.get_close_matches(str(name), allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; allowed: {', '.join(allowed)}" if allowed else ""


def _walk(kind: Any, path: str) -> Any:
    """The struct type at `path` ("measured[0].x", "files[...]") inside `kind`, or None."""
    for piece in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        kind = _element(kind) if piece.startswith("[") else typing.get_type_hints(kind).get(piece)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _element(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else None
