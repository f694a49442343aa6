"""The site's file, read and resolved: light enough for the processes that have neither pictures nor a model."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge import config, paths, updating
from edge.config import PipelineConfig, SiteConfig
from edge.decide.config import RulesConfig
from edge.errors import ConfigError
from edge.types import Struct
from edge.uplink.config import UplinkConfig

CREDENTIALS = "credentials"  # the folder beside the site's file whose files a unit gets from systemd


class Site(Struct, frozen=True, kw_only=True):
    """`endoedge.toml`, read and resolved. Paths are absolute."""

    file: str
    config: SiteConfig
    uplink: UplinkConfig
    pipeline: PipelineConfig
    pipeline_file: str
    rules: RulesConfig
    models_dir: Path
    outbox_path: Path
    run_dir: Path

    @property
    def status_path(self) -> Path:
        return self.run_dir / "status.json"

    @property
    def uplink_status_path(self) -> Path:
        return self.run_dir / "uplink.json"

    @property
    def update_path(self) -> Path:
        return self.run_dir / updating.STATUS

    @property
    def safe_path(self) -> Path:
        """There while the core is not started because it broke again and again."""
        return self.run_dir / "safe.json"

    @property
    def spool_path(self) -> Path:
        """Where key frames and clips are kept."""
        base = Path(self.file).resolve().parent
        return base / self.config.record.path if self.config.record.path else self.outbox_path.parent / "spool"

    @property
    def bell_path(self) -> Path:
        """The datagram socket that the core rings after a commit."""
        return self.run_dir / "outbox.sock"


def read_site(file: Path) -> Site:
    """Without a look into the tables of source and backend, which only the core needs. Raises ConfigError for either
    file."""
    site = config.decode_toml(file, SiteConfig)
    base = file.resolve().parent
    pipelines = base / site.pipelines_dir if site.pipelines_dir else paths.data_dir("pipelines")
    pipeline_file = pipelines / f"{site.pipeline}.toml"
    if not pipeline_file.is_file():
        known = ", ".join(sorted(path.stem for path in pipelines.glob("*.toml"))) or "none"
        raise ConfigError(f"{file}: pipeline is {site.pipeline!r}, but {pipelines} has: {known}")
    pipeline, rules = load_pipeline(pipeline_file)
    uplink = config.decode(site.uplink, UplinkConfig, str(file), "uplink")
    return Site(
        file=str(file),
        config=site,
        uplink=resolve_paths(uplink, base),
        pipeline=pipeline,
        pipeline_file=str(pipeline_file),
        rules=rules,
        models_dir=base / site.models_dir if site.models_dir else paths.data_dir("models"),
        outbox_path=base / site.outbox.path,
        run_dir=base / site.run_dir,
    )


def load_pipeline(file: Path) -> tuple[PipelineConfig, RulesConfig]:
    pipeline = config.decode_toml(file, PipelineConfig)
    tables = {name: getattr(pipeline, name) for name in RulesConfig.__struct_fields__}
    return pipeline, config.decode(tables, RulesConfig, str(file))


def resolve_paths(uplink: UplinkConfig, base: Path) -> UplinkConfig:
    """File names in `[uplink]` are relative to the site's file. What lies in `credentials/` beside it is root's alone:
    systemd reads it for the uplink's unit (LoadCredential), and the uplink finds it where systemd says."""
    loaded = os.environ.get("CREDENTIALS_DIRECTORY")

    def absolute(name: str) -> str:
        path = base / name
        if loaded and path.parent == base / CREDENTIALS:
            path = Path(loaded) / path.name
        return str(path) if name else ""

    tls = uplink.tls
    if tls is not None:
        tls = msgspec.structs.replace(tls, ca=absolute(tls.ca), cert=absolute(tls.cert), key=absolute(tls.key))
    reports = uplink.reports
    if reports is not None:
        files = {
            name: absolute(getattr(reports, name)) for name in ("token_file", "certificate_file", "key_file", "ca")
        }
        reports = msgspec.structs.replace(reports, **files)
    return msgspec.structs.replace(uplink, tls=tls, password_file=absolute(uplink.password_file), reports=reports)


def make_run_dir(site: Site) -> None:
    try:
        site.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{site.file}: run_dir {site.run_dir} cannot be made: {exc.strerror}") from exc
