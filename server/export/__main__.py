"""Make a report's exports from files, and send them where asked.

python -m server.export --record R.json --report P.json --frames DIR --out DIR

`tools/export_example.py` writes such files. In `--out`: report.pdf, report.fhir.json, NN.dcm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from edge.errors import EdgeError, UsageError
from edge.procedure import Record
from server.export import dicom, fhir, pdf, send
from server.export.case import Case, ExportError
from server.patient import Patient
from server.report import Report

_T = TypeVar("_T")


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 fault, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        _export(options)
    except EdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, required=True, metavar="FILE", help="a box's record (JSON)")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE", help="its report (JSON)")
    parser.add_argument("--frames", type=Path, required=True, metavar="DIR", help="key frames, as SHA256.jpg")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--patient", type=Path, metavar="FILE", help="of a signed report (JSON)")
    parser.add_argument("--institution", default="", metavar="NAME")
    parser.add_argument("--pacs", metavar="TITLE@HOST:PORT", help="send the instances there by C-STORE")
    parser.add_argument("--stow", metavar="URL", help="... by STOW-RS")
    parser.add_argument("--fhir", metavar="URL", help="send the bundle there")
    return parser


def _export(options: argparse.Namespace) -> None:
    pacs = _pacs(options.pacs) if options.pacs else None
    stow = _web(options.stow, "--stow") if options.stow else None
    hospital = _web(options.fhir, "--fhir") if options.fhir else None
    record = _read(options.record, Record)
    case = Case(
        record=record,
        report=_read(options.report, Report),
        frames=_frames(options.frames, record),
        patient=_read(options.patient, Patient) if options.patient else None,
        institution=options.institution,
    )
    document = pdf.pdf(case)
    bundle = fhir.bundle(case, document)
    instances = dicom.instances(case, document)
    files = {"report.pdf": document, "report.fhir.json": json.dumps(bundle, indent=1).encode()}
    files |= {f"{number:02d}.dcm": dicom.written(instance) for number, instance in enumerate(instances, 1)}
    _write(options.out, files)
    if pacs:
        print(f"{options.pacs}: {send.store(pacs, instances)}")
    if stow:
        print(f"{options.stow}: {send.stow(stow, instances)}")
    if hospital:
        send.transact(hospital, bundle)
        print(f"{options.fhir}: {len(bundle['entry'])} resources")


def _read(file: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as exc:
        raise ExportError(f"{file}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise ExportError(f"{file}: expected a {kind.__name__.lower()}: {exc}") from exc


def _frames(folder: Path, record: Record) -> Mapping[str, bytes]:
    files = {frame.sha256: folder / f"{frame.sha256}.jpg" for frame in record.key_frames()}
    return {digest: file.read_bytes() for digest, file in files.items() if file.is_file()}


def _pacs(text: str) -> send.Pacs:
    title, _, address = text.partition("@")
    host, _, port = address.rpartition(":")
    try:
        return msgspec.convert({"called": title, "host": host, "port": port}, send.Pacs, strict=False)
    except msgspec.ValidationError as exc:
        raise UsageError(f"--pacs {text}: expected TITLE@HOST:PORT: {exc}") from exc


def _web(text: str, option: str) -> send.Web:
    try:
        return msgspec.convert({"url": text}, send.Web)
    except msgspec.ValidationError as exc:
        raise UsageError(f"{option} {text}: expected a service's base address: {exc}") from exc


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as exc:
        raise ExportError(f"{folder}: {exc.strerror}") from exc
    print(f"{folder}: {', '.join(files)}")


if __name__ == "__main__":
    raise SystemExit(main())
