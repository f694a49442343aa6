#!/usr/bin/env python3
"""Write the JSON Schemas of what leaves the box to docs/schemas/, from the types themselves.

tools/schemas.py            # write
tools/schemas.py --check    # exit 1 and name the files that are not current
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from edge.types import Message  # noqa: E402
from edge.uplink.wire import Ack, State, Telemetry  # noqa: E402

PAYLOADS: dict[str, type[Any]] = {"message": Message, "state": State, "telemetry": Telemetry, "ack": Ack}
DRAFT = "http://json-schema.org/draft-07/schema#"
FOLDER = ROOT / "docs" / "schemas"


def schema(name: str) -> str:
    """The JSON Schema of one payload, as text."""
    (top,), definitions = msgspec.json.schema_components([PAYLOADS[name]], ref_template="#/definitions/{name}")
    document = {"$schema": DRAFT, "allOf": [top], "definitions": _draft_07(definitions)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _draft_07(node: Any) -> Any:
    """msgspec speaks 2020-12 and OpenAPI, AsyncAPI's tools speak draft-07: fixed-length arrays differ, and the
    discriminator is not needed, because each event's `type` has one value only."""
    if isinstance(node, list):
        return [_draft_07(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _draft_07(value) for key, value in node.items() if key != "discriminator"}
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")
    return node


def stale() -> list[Path]:
    """Files whose content is not what the types say now."""
    files = {FOLDER / f"{name}.schema.json": schema(name) for name in PAYLOADS}
    return [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    old = stale()
    for path in old:
        print(f"{path.relative_to(ROOT)}: {'not current' if options.check else 'written'}")
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(schema(path.name.removesuffix(".schema.json")), encoding="utf-8")
    return 1 if options.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
