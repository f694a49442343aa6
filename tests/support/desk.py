"""A whole site on a desk with the little green model, and its engines made by the fakes of TensorRT and CUDA."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from edge.cli.site import Site
from edge.infer import tensorrt
from edge.messages import Event, Message
from edge.outbox import OutboxReader
from edge.types import Precision
from tests.support import fake_cuda, fake_tensorrt, models


def site(
    folder: Path, infer: str = 'backend = "tensorrt"', precisions: Sequence[Precision] = models.WITH_TENSORRT
) -> Path:
    """Write it. Returns its `endoedge.toml`; engines go to `folder/engines`."""
    models.build(folder / "models" / models.NAME, precisions=precisions)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "colonoscopy.toml").write_text(models.tables())
    cache = 'cache_dir = "engines"\n' if "tensorrt" in infer else ""
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box"\npipeline = "colonoscopy"\n'
        'pipelines_dir = "pipelines"\nmodels_dir = "models"\nrun_dir = "run"\n'
        f'[capture]\nsource = "test"\n[infer]\n{infer}\n{cache}[outbox]\npath = "outbox.db"\n'
        '[uplink]\nhost = "127.0.0.1"\nport = 9\n'
    )
    return file


def committed(box: Site) -> list[Event]:
    """The events that wait in its outbox, oldest first."""
    with contextlib.closing(OutboxReader.open(box.outbox_path)) as reader:
        return [msgspec.json.decode(row.payload, type=Message).event for row in reader.pending(sys.maxsize)]


def over_fakes(mode: Path, command: Sequence[str]) -> list[str]:
    """The same `python -m edge.cli ...` over the fakes, at the power mode that a file names."""
    return [sys.executable, "-m", "tests.support.desk", str(mode), *command[3:]]


def main() -> int:
    """`python -m tests.support.desk POWER_MODE_FILE ARGUMENTS...`: the command line over the fakes, in a process."""
    from edge import cli

    patch = pytest.MonkeyPatch()
    fake_tensorrt.install(patch, next(fake_cuda.started()))
    patch.setattr(tensorrt, "POWER_MODE", Path(sys.argv[1]))
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
