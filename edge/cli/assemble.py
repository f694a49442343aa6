"""From configuration files to the parts of one run. The one place, with `core`, that knows them all."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from ulid import ULID

from edge import board, config, model, release
from edge.board.watch import Watch
from edge.capture.thinned import Thinned
from edge.cli.governor import Governor
from edge.cli.site import Site as Site
from edge.cli.site import load_pipeline as load_pipeline
from edge.cli.site import make_run_dir as make_run_dir
from edge.cli.site import read_site
from edge.config import PipelineConfig
from edge.decide.config import RulesConfig
from edge.decide.drops import Drops
from edge.decide.engine import Engine
from edge.decide.ladder import Ladder
from edge.decide.rules import Rules
from edge.errors import EdgeError
from edge.heads import Heads, open_all
from edge.infer.engine_build import Building, Renewing
from edge.outbox import Outbox
from edge.procedure import Made
from edge.timing import Stages
from edge.types import HOST, Backend, Manifest, Memory, Model, Precision, RecordingSource

INFER_PATHS = ("cache_dir",)  # keys of [infer] that are relative to the site's file
CAPTURE_PATHS = ("path", "cache_dir", "password_file")  # keys of [capture] that are relative to the site's file


def load_site(file: Path) -> Site:
    """And the tables that choose a source and a backend, read by those. Raises ConfigError for either file."""
    site = read_site(file)
    check_parts(site)
    return site


def check_parts(site: Site) -> None:
    """Raises ConfigError. What chooses a source brings in what that needs: GStreamer, arrays."""
    config.part("edge.infer", site.config.infer, "backend", site.file, "infer")
    config.part("edge.capture", site.config.capture, "source", site.file, "capture")


def load_model(site: Site, precision: Precision | None = None) -> Model:
    """The file that the configured backend runs, or another `precision`."""
    module, part = infer_part(site)
    default: Precision = module.precision(part) if hasattr(module, "precision") else "int8"
    return model.load(site.models_dir / site.pipeline.model, precision or default)


def infer_part(site: Site) -> tuple[ModuleType, Any]:
    """The configured backend's module and its `Config`, with absolute paths."""
    base = Path(site.file).resolve().parent
    module, part = config.part("edge.infer", site.config.infer, "backend", site.file, "infer")
    paths_of = {key: str(base / getattr(part, key)) for key in INFER_PATHS if hasattr(part, key)}
    return module, msgspec.structs.replace(part, **paths_of)


def open_backend(site: Site, loaded: Model) -> Backend:
    module, part = infer_part(site)
    backend: Backend = module.open(part, loaded)
    return backend


def renewed(site: Site, loaded: Model, backend: Backend) -> Renewing | None:
    """`backend`, where it was tuned to another power mode, until a better one is built; None where it is the best."""
    if getattr(backend, "tuned", True):
        return None
    command = [sys.executable, "-m", "edge.cli", "model", "build", "-c", site.file, "--events"]
    reason = "the engine that serves was tuned at another power mode"
    return Renewing(backend, lambda: Building(command), lambda: open_backend(site, loaded), reason)


def open_heads(site: Site, loaded: Model) -> Heads:
    with _naming(site.pipeline_file):
        return fit_heads(site.pipeline, site.rules, loaded.manifest)


def fit_heads(pipeline: PipelineConfig, rules: RulesConfig, manifest: Manifest) -> Heads:
    """A pipeline's heads on a model. ModelError, or ConfigError when its rules are about what no head says."""
    heads = open_all(pipeline.heads, tuple(manifest.outputs), manifest.heads)
    rules.require(heads.said("detections"), heads.said("classifications"))
    return heads


def prepare_source(site: Site, progress: Callable[[int, int], None]) -> None:
    """What a source has to make before it can be opened, if anything: a phantom. `progress(done, all)`."""
    module, part = capture_part(site)
    if hasattr(module, "prepare"):
        module.prepare(part, progress)


def open_source(site: Site, size: tuple[int, int]) -> RecordingSource:
    module, part = capture_part(site)
    source: RecordingSource = module.open(part, size, backend_reads(site))
    return source


def capture_part(site: Site) -> tuple[ModuleType, Any]:
    """The configured source's module and its `Config`, with absolute paths."""
    base = Path(site.file).resolve().parent
    table = {
        key: str(base / value) if key in CAPTURE_PATHS and value else value
        for key, value in site.config.capture.items()
    }
    return config.part("edge.capture", table, "source", site.file, "capture")


def recording_names(site: Site) -> set[str]:
    """The names of the recording that is played: people name them after patients."""
    name = site.config.capture.get("path", "")
    return {name, str(Path(site.file).resolve().parent / name), Path(name).name} if name else set()


def backend_reads(site: Site) -> tuple[Memory, ...]:
    """The kinds of memory that the site's backend takes frames from: what its module says, else the host's."""
    module, part = infer_part(site)
    reads: tuple[Memory, ...] = module.reads(part) if hasattr(module, "reads") else HOST
    return reads


def open_rules(
    site: Site, ladder: Ladder | None = None, engine: Engine | None = None, drops: Drops | None = None
) -> Rules:
    return Rules(site.rules, run_id=str(ULID()), ladder=ladder, engine=engine, drops=drops)


def made_by(site: Site, loaded: Model) -> Made:
    """What a procedure's record says of this software, its model and its pipeline."""
    return Made(
        software=release.version(),
        model=loaded.manifest.name,
        model_version=loaded.manifest.version,
        model_sha256=loaded.sha256,
        precision=loaded.precision,
        pipeline=site.pipeline.name,
        pipeline_sha256=pipeline_sha256(site),
    )


def pipeline_sha256(site: Site) -> str:
    return hashlib.sha256(Path(site.pipeline_file).read_bytes()).hexdigest()


def open_governor(
    site: Site, ladder: Ladder, heads: Heads, source: Thinned, stages: Stages, root: Path = Path("/")
) -> Governor:
    """Begins to read the board whose files are under `root`."""
    keeps_time = site.config.capture.get("rate") != "max"
    return Governor(ladder, Watch(board.open(root)), heads, source, stages, keeps_time=keeps_time)


def open_outbox(site: Site) -> Outbox:
    site.outbox_path.parent.mkdir(parents=True, exist_ok=True)
    return Outbox.open(site.outbox_path, site.config.device, site.config.outbox.max_mib * 2**20, notify=site.bell_path)


@contextlib.contextmanager
def _naming(file: str) -> Iterator[None]:
    """Errors that know a key but not the file get it here."""
    try:
        yield
    except EdgeError as exc:
        raise type(exc)(f"{file}: {exc}") from exc
