#!/usr/bin/env python3
"""Write the JSON Schemas of what leaves the box, and of its configuration and model files, to docs/schemas/.

tools/schemas.py            # write
tools/schemas.py --check    # exit 1 and name the files that are not current
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from edge import config  # noqa: E402
from edge.config import PipelineConfig, SiteConfig  # noqa: E402
from edge.decide.config import RulesConfig  # noqa: E402
from edge.messages import Message  # noqa: E402
from edge.procedure import Record  # noqa: E402
from edge.status import CoreStatus  # noqa: E402
from edge.types import Manifest  # noqa: E402
from edge.update.config import UpdateConfig  # noqa: E402
from edge.uplink.config import UplinkConfig  # noqa: E402
from edge.uplink.wire import Ack, State, Telemetry, Update  # noqa: E402

PAYLOADS: dict[str, type[Any]] = {
    "message": Message,
    "state": State,
    "telemetry": Telemetry,
    "update": Update,
    "ack": Ack,
    "procedure": Record,
    "status": CoreStatus,
}
DRAFT = "http://json-schema.org/draft-07/schema#"
FOLDER = ROOT / "docs" / "schemas"


def schema(name: str) -> str:
    """The JSON Schema of one payload or configuration file, as text."""
    document = CONFIGS[name]() if name in CONFIGS else _payload(name)
    return json.dumps({"$schema": DRAFT, **document}, indent=2, ensure_ascii=False) + "\n"


def _payload(name: str) -> dict[str, Any]:
    (top,), definitions = msgspec.json.schema_components([PAYLOADS[name]], ref_template="#/definitions/{name}")
    return {"allOf": [top], "definitions": _draft_07(definitions)}


def _site() -> dict[str, Any]:
    """`endoedge.toml`: what [capture] and [infer] may say depends on the part that they choose."""
    parts = {key: _parts(f"edge.{key}", selector) for key, selector in (("capture", "source"), ("infer", "backend"))}
    return _file(SiteConfig, {**parts, "uplink": [(UplinkConfig, {})], "update": [(UpdateConfig, {})]})


def _pipeline() -> dict[str, Any]:
    """`pipelines/NAME.toml`: the rules' tables come from the rules' own configuration."""
    document = _file(PipelineConfig, {"heads": _parts("edge.heads", "kind")})
    (rules,), definitions = msgspec.json.schema_components([RulesConfig], ref_template="#/definitions/{name}")
    definitions = _draft_07(definitions)
    top = definitions.pop(rules["$ref"].rpartition("/")[2])
    properties = document["definitions"]["PipelineConfig"]["properties"]
    properties["heads"] = {"type": "array", "items": properties["heads"]}
    properties.update(top["properties"])
    document["definitions"].update(definitions)
    return document


def _parts(package: str, selector: str) -> list[tuple[type[Any], dict[str, str]]]:
    names = config.part_names(package)
    return [(importlib.import_module(f"{package}.{name}").Config, {selector: name}) for name in names]


def _file(kind: type[Any], tables: dict[str, list[tuple[type[Any], dict[str, str]]]]) -> dict[str, Any]:
    """`kind`'s schema, with each table in `tables` one of the given structs, chosen by a constant key."""
    (top,), definitions = msgspec.json.schema_components([kind], ref_template="#/definitions/{name}")
    for table, choices in tables.items():
        shapes = []
        for struct, constants in choices:
            (ref,), own = msgspec.json.schema_components([struct], ref_template="#/definitions/{name}")
            shape = own.pop(ref["$ref"].rpartition("/")[2])
            shape["properties"] |= {key: {"const": value} for key, value in constants.items()}
            shape["required"] = [*constants, *shape.get("required", [])]
            shapes.append(shape)
            definitions |= own
        definitions[kind.__name__]["properties"][table] = shapes[0] if len(shapes) == 1 else {"oneOf": shapes}
    return {"allOf": [top], "definitions": _draft_07(definitions)}


def _model() -> dict[str, Any]:
    """`models/NAME/model.toml`, which only a release writes."""
    return _file(Manifest, {})


CONFIGS = {"endoedge.toml": _site, "pipeline.toml": _pipeline, "model.toml": _model}

# Written without a point: `typing` hands out one type for `Annotated[float, Meta(le=60)]` and `Meta(le=60.0)`, equal as
# they are, and which spelling it has depends on what was imported first.
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def _draft_07(node: Any) -> Any:
    """msgspec speaks 2020-12 and OpenAPI, AsyncAPI's tools speak draft-07: fixed-length arrays differ, and the
    discriminator is not needed, because each event's `type` has one value only."""
    if isinstance(node, list):
        return [_draft_07(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _draft_07(value) for key, value in node.items() if key != "discriminator"}
    node |= {key: int(node[key]) for key in _LIMITS if isinstance(node.get(key), float) and node[key].is_integer()}
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")
    return node


def stale() -> list[Path]:
    """Files whose content is not what the types say now."""
    files = {FOLDER / f"{name}.schema.json": schema(name) for name in (*PAYLOADS, *CONFIGS)}
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
