"""Write what a training takes of signed cases that lie in folders: each with record.json, draft.json, report.json,
frames/SHA256.jpg and, where it is known whose it is, patient.json. The server does the same from its database.

    python -m tools.export_example example
    python -m server.learn example --out learnt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec

from edge.errors import EdgeError, UsageError
from edge.procedure import Record
from server.learn.case import LearnError, Names, SignedCase
from server.learn.export import Options, export
from server.patient import Patient
from server.report import Report

_T = TypeVar("_T", bound=msgspec.Struct)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        settings = msgspec.convert({"frames_most": options.frames_most, "held": options.held}, Options)
        cases = _cases(options.folders, Names(institution=options.institution, more=tuple(options.name)))
        result = export(options.out, cases, f"endoedge {version('endoedge')}", settings)
        print("\n".join(result.lines()))
    except msgspec.ValidationError as exc:
        print(f"learn: {exc}", file=sys.stderr)
        return UsageError.exit_code
    except EdgeError as exc:
        print(f"learn: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="python -m server.learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="CASE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--institution", default="", metavar="NAME")
    parser.add_argument(
        "--name", action="append", default=[], help="that no text may hold; as often as there are names"
    )
    parser.add_argument("--frames-most", type=int, default=defaults.frames_most, metavar="N")
    parser.add_argument("--held", type=float, default=defaults.held, metavar="SHARE", help="of patients, kept apart")
    return parser


def _cases(folders: list[Path], names: Names) -> Iterator[SignedCase]:
    for folder in folders:
        record = _read(folder / "record.json", Record)
        files = {frame.sha256: folder / "frames" / f"{frame.sha256}.jpg" for frame in record.key_frames()}
        patient = folder / "patient.json"
        yield SignedCase(
            record=record,
            draft=_read(folder / "draft.json", Report),
            signed=_read(folder / "report.json", Report),
            frames={digest: file.read_bytes() for digest, file in files.items() if file.is_file()},
            patient=_read(patient, Patient) if patient.is_file() else None,
            names=names,
        )


def _read(file: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as exc:
        raise LearnError(f"{file}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise LearnError(f"{file}: expected a {kind.__name__.lower()}: {exc}") from exc


if __name__ == "__main__":
    raise SystemExit(main())
