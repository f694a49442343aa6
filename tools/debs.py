"""Debian packages of a machine, from dpkg's status file (deb822, dpkg(1)): what is installed, and what needs what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edge.errors import EdgeError

_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")  # of "libc6:any (>= 2.36)"


class Deb(NamedTuple):
    """`depends`: a list of alternatives for each dependency. `provides`: other names it answers to."""

    name: str
    version: str
    architecture: str
    source: str
    maintainer: str
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def installed(status: Path) -> dict[str, Deb]:
    """By name. Raises EdgeError when there is no such file."""
    try:
        text = status.read_text(encoding="utf-8")
    except OSError as exc:
        raise EdgeError(f"{status}: cannot be read: {exc.strerror}: is this a Debian or Ubuntu?") from exc
    fields = map(_fields, text.split("\n\n"))
    debs = [_deb(each) for each in fields if each.get("Status", "").endswith(" installed")]
    return {deb.name: deb for deb in debs}


def closure(packages: Mapping[str, Deb], wanted: Sequence[str]) -> dict[str, list[str]]:
    """`wanted` and all that they need, each with what it needs itself. Raises EdgeError: one is not installed."""
    providers = {name: deb.name for deb in packages.values() for name in deb.provides}
    needs: dict[str, list[str]] = {}
    ahead = list(wanted)
    while ahead:
        name = ahead.pop()
        if name in needs:
            continue
        if name not in packages:
            raise EdgeError(f"package {name} is not installed: tools/setup.sh packages")
        needs[name] = sorted(set(_needed(packages, providers, name)))
        ahead += needs[name]
    return dict(sorted(needs.items()))


def _needed(packages: Mapping[str, Deb], providers: Mapping[str, str], name: str) -> Iterator[str]:
    for alternatives in packages[name].depends:
        found = next((one for one in alternatives if one in packages or one in providers), None)
        if found is None:
            raise EdgeError(f"package {name} needs {' or '.join(alternatives)}, which is not installed")
        yield found if found in packages else providers[found]


def _fields(paragraph: str) -> dict[str, str]:
    """A field's continuation lines belong to descriptions and checksums: they are left out."""
    lines = (line.partition(":") for line in paragraph.splitlines() if line and not line[0].isspace())
    return {key: value.strip() for key, _, value in lines}


def _deb(fields: Mapping[str, str]) -> Deb:
    needs = ",".join(filter(None, (fields.get("Pre-Depends", ""), fields.get("Depends", ""))))
    return Deb(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        source=fields.get("Source", fields["Package"]),
        maintainer=fields.get("Maintainer", ""),
        depends=tuple(tuple(_names(each, "|")) for each in needs.split(",") if each.strip()),
        provides=tuple(_names(fields.get("Provides", ""), ",")),
    )


def _names(text: str, separator: str) -> list[str]:
    return [found[1] for each in text.split(separator) if (found := _NAME.match(each))]
