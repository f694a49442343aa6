"""FHIR R4B's own rules, held against what we write: elements, cardinalities, types, formats of primitives, required
codes, what a reference may point at, and an Observation's invariants.

`fhir_r4b.json` is cut out of HL7's package (CC0) by: npm pack hl7.fhir.r4b.core@4.3.0, unpack it, and
    python -m tests.support.fhir PACKAGE > tests/support/fhir_r4b.json
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESOURCES = ("Bundle", "DiagnosticReport", "Observation", "Device", "Media", "Provenance")
DATATYPES = (
    "Identifier", "CodeableConcept", "Coding", "Reference", "Period", "Quantity", "Attachment", "Annotation",
    "Signature", "Narrative", "Meta",
)  # fmt: skip
PRIMITIVES = (
    "base64Binary", "boolean", "canonical", "code", "date", "dateTime", "decimal", "id", "instant", "integer",
    "markdown", "oid", "positiveInt", "string", "unsignedInt", "uri", "url", "xhtml",
)  # fmt: skip
SYSTEM = "http://hl7.org/fhirpath/System."


# -------------------------------------------------------------------------------------- checking a resource


@functools.cache
def facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("fhir_r4b.json").read_bytes())
    return loaded


def problems(bundle: dict[str, Any]) -> list[str]:
    """All that is wrong with a bundle; [] nothing."""
    known = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    found = list(_object(bundle, "Bundle", "Bundle", known))
    for entry in bundle["entry"]:
        resource = entry["resource"]
        found += _invariants(resource)
        kind, name = entry["request"]["url"].split("/")
        if (kind, name) != (resource["resourceType"], resource["id"]) or not entry["fullUrl"].endswith(name):
            found.append(f"{entry['fullUrl']}: PUT to {entry['request']['url']} of {resource['resourceType']}")
    if len(known) != len(bundle["entry"]):
        found.append("two entries have one fullUrl")
    return found


def _object(value: Any, kind: str, path: str, known: dict[str, str]) -> Iterator[str]:
    if kind == "Resource":
        kind = value.get("resourceType", "?")
    elements = facts()["types"].get(kind)
    if elements is None:
        yield f"{path}: {kind} is not in the table"
        return
    if not isinstance(value, dict) or not value:
        yield f"{path}: expected an object that is not empty"
        return
    yield from _elements(value, elements, path, known)


def _elements(value: dict[str, Any], elements: dict[str, Any], path: str, known: dict[str, str]) -> Iterator[str]:
    left = {key for key in value if key != "resourceType"}
    for name, rule in elements.items():
        names = {name.replace("[x]", kind[0].upper() + kind[1:]): kind for kind in rule["types"]}
        if not name.endswith("[x]"):
            names = {name: rule["types"][0]} if rule["types"] else {name: ""}
        present = [one for one in names if one in value]
        left -= set(present)
        if len(present) < min(rule["min"], 1) or len(present) > 1:
            yield f"{path}.{name}: {len(present)} of it, expected {rule['min']}..{rule['max']}"
        for one in present:
            yield from _element(value[one], names[one], rule, f"{path}.{one}", known)
    yield from (f"{path}.{key}: no such element" for key in sorted(left))


def _element(value: Any, kind: str, rule: dict[str, Any], path: str, known: dict[str, str]) -> Iterator[str]:
    many = rule["max"] != "1"
    if many != isinstance(value, list):
        yield f"{path}: expected {'a list' if many else 'one value'}"
        return
    items = value if many else [value]
    if len(items) < max(rule["min"], 1):
        yield f"{path}: {len(items)} of it, expected {rule['min']}..{rule['max']}"
    for number, item in enumerate(items):
        at = f"{path}[{number}]" if many else path
        if "elements" in rule:
            yield from _elements(item, rule["elements"], at, known)
        elif kind in facts()["primitives"]:
            yield from _primitive(item, kind, at)
        else:
            yield from _object(item, kind, at, known)
        if kind == "Reference":
            yield from _reference(item, rule, at, known)
        yield from _code(item, rule, at)


def _primitive(item: Any, kind: str, path: str) -> Iterator[str]:
    json_kind = {"boolean": bool, "integer": int, "positiveInt": int, "unsignedInt": int, "decimal": (int, float)}
    expected: Any = json_kind.get(kind, str)
    text = json.dumps(item) if expected is not str else item
    if not isinstance(item, expected) or (expected is not bool and isinstance(item, bool)):
        yield f"{path}: {item!r} is no {kind}"
    elif not re.fullmatch(facts()["primitives"][kind] or "[\\s\\S]+", text):
        yield f"{path}: {text[:80]!r} is no {kind}"


def _code(item: Any, rule: dict[str, Any], path: str) -> Iterator[str]:
    """Required bindings alone: of the others other codes may be taken."""
    if "codes" not in rule:
        return
    codes = [item] if isinstance(item, str) else [coding.get("code") for coding in item.get("coding", [item])]
    if not set(codes) & set(rule["codes"]):
        yield f"{path}: {codes}, expected one of {', '.join(rule['codes'])}"


def _reference(item: dict[str, Any], rule: dict[str, Any], path: str, known: dict[str, str]) -> Iterator[str]:
    kind = item.get("type")
    if "reference" in item:
        kind = known.get(item["reference"])
        if kind is None:
            yield f"{path}: {item['reference']} is not in the bundle"
    elif "identifier" not in item and "display" not in item:
        yield f"{path}: points at nothing"
    if kind is not None and rule["targets"] and kind not in rule["targets"]:
        yield f"{path}: points at {kind}, expected {', '.join(rule['targets'])}"


def _invariants(resource: dict[str, Any]) -> Iterator[str]:
    """Of our resources Observation alone has any that can fail without `contained`."""
    if resource["resourceType"] != "Observation":
        return
    values = [key for key in resource if key.startswith("value")]
    if values and "dataAbsentReason" in resource:
        yield f"Observation/{resource['id']}: obs-6: {values[0]} beside dataAbsentReason"
    own = _codings(resource["code"])
    if values and any(own & _codings(component["code"]) for component in resource.get("component", [])):
        yield f"Observation/{resource['id']}: obs-7: {values[0]} beside a component of the same code"


def _codings(concept: dict[str, Any]) -> set[tuple[str, str]]:
    return {(coding["system"], coding["code"]) for coding in concept.get("coding", [])}


# ------------------------------------------------------------------------------- cutting the table out


def _cut(package: Path) -> dict[str, Any]:
    types = {name: _table(package, name) for name in (*RESOURCES, *DATATYPES)}
    primitives = {name: _format(_definition(package, name)) for name in PRIMITIVES}
    return {"types": types, "primitives": primitives}


def _definition(package: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((package / f"StructureDefinition-{name}.json").read_bytes())
    return loaded


def _table(package: Path, name: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for element in _definition(package, name)["snapshot"]["element"][1:]:
        *parents, leaf = element["path"].split(".")[1:]
        if leaf in ("extension", "modifierExtension", "contained") or (parents and leaf == "id"):
            continue
        place = table
        for parent in parents:
            place = place[parent].setdefault("elements", {})
        place[leaf] = _rule(package, element)
    return table


def _rule(package: Path, element: dict[str, Any]) -> dict[str, Any]:
    types = element.get("type", [])
    codes = [one["code"].replace(f"{SYSTEM}String", "string") for one in types]
    targets = [target.rsplit("/", 1)[1] for one in types for target in one.get("targetProfile", [])]
    rule: dict[str, Any] = {"min": element["min"], "max": element["max"], "types": codes}
    rule["targets"] = [] if "Resource" in targets else targets
    binding = element.get("binding", {})
    if binding.get("strength") == "required" and (chosen := _codes(package, binding["valueSet"])):
        rule["codes"] = chosen
    return rule


def _codes(package: Path, value_set: str) -> list[str]:
    """[]: a set too large to be listed in the package (languages, media types, units)."""
    file = package / f"ValueSet-{value_set.split('|')[0].rsplit('/', 1)[1]}.json"
    found: list[str] = []
    for included in json.loads(file.read_bytes())["compose"]["include"] if file.exists() else []:
        if "concept" in included:
            found += [one["code"] for one in included["concept"]]
            continue
        for system in package.glob("CodeSystem-*.json"):
            loaded = json.loads(system.read_bytes())
            if loaded.get("url") == included.get("system") and "filter" not in included:
                found += list(_leaves(loaded.get("concept", [])))
    return found


def _leaves(concepts: list[dict[str, Any]]) -> Iterator[str]:
    for one in concepts:
        yield one["code"]
        yield from _leaves(one.get("concept", []))


def _format(definition: dict[str, Any]) -> str:
    value = next(one for one in definition["snapshot"]["element"] if one["path"].endswith(".value"))
    formats = [
        extension["valueString"]
        for extension in value["type"][0].get("extension", [])
        if extension["url"].endswith("/regex")
    ]
    return formats[0] if formats else ""


if __name__ == "__main__":
    json.dump(_cut(Path(sys.argv[1])), sys.stdout, indent=None, separators=(",", ":"), sort_keys=True)
    print()
