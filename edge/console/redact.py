"""What may not leave the box, taken out of what may: bundle, log, self-test. Pure but for `secrets_of`.

Two nets, because either alone has holes: whatever stands under a key that says it is a secret, and every secret that
the configuration (or a file it names) holds, wherever else it turns up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REMOVED = "(removed)"

_SECRET_KEY = re.compile(r"passw|passphrase|secret|token|credential|keys?(_(file|path|dir|pem|data))?$", re.IGNORECASE)
_SAID = re.compile(
    r"""([\w-]*(?:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|authorization)[\w-]*["']?\s*[:=]\s*)"""
    r"""("[^"]*"|'[^']*'|(?:(?:bearer|basic)\s+)?\S+)""",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://[^/\s@]+@")
_IN_QUERY = re.compile(r"""(://[^\s"'?]*\?)[^\s"']+""")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SERVICE_TOKEN = re.compile(r"\bEET1\.[\w.-]+")
_SETTING = re.compile(r"""([\w-]+)["']?\s*[:=]\s*(["']?)([^"'\s]+)\2""")
_FILE_BYTES = 1 << 16
_SHORTEST = 4  # a shorter value turns up by chance


def cleaned(value: Any, secrets: set[str], key: str = "") -> Any:
    """Tables, lists and values; what stands under a secret's key is gone, whatever it is."""
    if _SECRET_KEY.search(key) and value not in ("", None, [], {}):
        return REMOVED
    if isinstance(value, Mapping):
        return {name: cleaned(item, secrets, name) for name, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, secrets) for item in value]
    return scrubbed(value, secrets) if isinstance(value, str) else value


def settings_in(text: str) -> dict[str, Any]:
    """`name = "value"`, wherever that stands in a text that is no TOML."""
    return {f"{number} {name}": value for number, (name, _, value) in enumerate(_SETTING.findall(text))}


def secrets_of(value: Any, base: Path, key: str = "") -> set[str]:
    """What `cleaned` removes by its key, and the lines of the files named there, as far as this user may read
    them. Relative names are relative to `base`."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, item in value.items():
            found |= secrets_of(item, base, key if _SECRET_KEY.search(key) else name)
    elif isinstance(value, list):
        for item in value:
            found |= secrets_of(item, base, key)
    elif isinstance(value, str) and _SECRET_KEY.search(key):
        found |= set(_lines_of(base / value)) or {value}
    elif isinstance(value, str):
        found |= {part for inside in re.findall(r"://([^/\s@]+)@", value) for part in inside.split(":")[1:]}
    return {one for one in found if len(one) >= _SHORTEST}


def recordings_of(table: Mapping[str, Any], base: Path) -> set[str]:
    """The names of the recording that is played instead of a tower's picture: people name them after patients. `table`:
    the site's file, or its `settings_in`."""
    capture = table.get("capture", table)
    if not isinstance(capture, Mapping):
        return set()
    named = [value for key, value in capture.items() if key.split()[-1:] == ["path"] and isinstance(value, str)]
    found = {name for value in named for name in (value, str(base / value), Path(value).name)}
    return {name for name in found if len(name) >= _SHORTEST}


def scrubbed(text: str, secrets: set[str]) -> str:
    """`text` without those secrets, and without whatever looks like one."""
    text = _PEM.sub(REMOVED, text)
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, REMOVED)
    text = _SERVICE_TOKEN.sub(REMOVED, text)
    text = _IN_URL.sub(f"://{REMOVED}@", text)
    text = _IN_QUERY.sub(rf"\1{REMOVED}", text)
    return _SAID.sub(rf"\1{REMOVED}", text)


def _lines_of(path: Path) -> Iterator[str]:
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return
    yield from (line.strip() for line in content.splitlines() if not line.startswith("-----"))
