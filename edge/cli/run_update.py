"""`endoedge run update`: looks for releases, has them written, and tries them out. No pixels, nobody's data."""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edge import audit, clock, config, release, status
from edge.audit import Audit
from edge.cli.site import Site, make_run_dir, read_site
from edge.clock import SystemClock
from edge.errors import AuditError, ConfigError, UpdateError
from edge.systemd import Notifier
from edge.update.config import Places, UpdateConfig
from edge.updating import STATUS, UpdateStatus

NEEDS = ("tuf", "urllib3", "packaging")
TURN_S = 0.5

log = logging.getLogger(__name__)


def serve(options: argparse.Namespace, stop: threading.Event) -> int:
    site = read_site(options.config)
    make_run_dir(site)
    turn, notifier = updater(site), Notifier()
    path = site.run_dir / STATUS
    try:
        while not stop.is_set():
            now = turn()
            _write(path, now)
            notifier.say("READY=1", "WATCHDOG=1", f"STATUS={words(now)}")
            clock.wait(stop, TURN_S)
    finally:
        notifier.close()
    return 0


def updater(site: Site) -> Callable[[], UpdateStatus]:
    """One turn of it. Raises UpdateError or ConfigError: a person has to mend that."""
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        raise UpdateError(f"{' and '.join(missing)}: not installed; pip install 'endoedge[update]'")
    from edge.cli.update_world import BoxWorld
    from edge.update.client import Client
    from edge.update.install import Rauc
    from edge.update.parts import Parts
    from edge.update.policy import Box
    from edge.update.updater import Updater
    from edge.update.wishes import Wishes

    settings = update_config(site)
    places, base = resolved(settings.places, Path(site.file).resolve().parent), Path(site.file).resolve().parent
    state = Path(places.state)
    history = state / "history"
    _tell_of_the_history(history)
    parts = Parts(
        config=settings,
        box=Box(
            device=site.config.device,
            hardware=compatible(Path(places.rauc)),
            version=release.version(),
            system=_system(Path(places.system)),
        ),
        client=Client(state, _root_keys(Path(places.root_keys)), release.built_at(), _ca(settings, base)),
        rauc=lambda: Rauc(places.bus, Path(places.slots) / "rauc.status"),
        world=BoxWorld(site, places),
        audit=Audit(history, SystemClock()),
        wishes=Wishes(Path(places.wishes)),
    )
    return Updater(parts, state / "state.json").turn


def update_config(site: Site) -> UpdateConfig:
    return config.decode(site.config.update, UpdateConfig, site.file, "update")


def resolved(places: Places, base: Path) -> Places:
    """File names are relative to the site's file."""
    paths = {name: str(base / getattr(places, name)) for name in Places.__struct_fields__ if name != "bus"}
    return Places(**paths, bus=places.bus)


def compatible(rauc: Path) -> str:
    """What board this is, as RAUC's configuration says."""
    found = configparser.ConfigParser(interpolation=None)
    try:
        found.read_string(rauc.read_text(encoding="utf-8"))
        return found["system"]["compatible"]
    except OSError as exc:
        raise ConfigError(f"{rauc}: cannot be read: {exc.strerror}; tools/install.sh writes it") from exc
    except (configparser.Error, KeyError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{rauc}: has no [system] compatible: {exc}") from exc


def words(now: UpdateStatus) -> str:
    """For `systemctl status`."""
    if now.trial is not None:
        return f"{now.version} on trial: healthy for {now.trial.healthy_s:.0f} s {now.trial.lacks}".rstrip()
    offered = f", {now.offer.version} {now.state}" if now.offer else ""
    doing = f": {now.percent} % {now.detail}" if now.detail else ""
    waits = f"; {now.obstacles[0].words}" if now.obstacles else ""
    trouble = f"; {now.trouble}" if now.trouble else ""
    return f"{now.version} runs{offered}{doing}{waits}{trouble}"


def _write(path: Path, now: UpdateStatus) -> None:
    try:
        status.write(path, now)
    except OSError as exc:
        log.warning("%s: cannot be written: %s", path, exc.strerror)


def _tell_of_the_history(folder: Path) -> None:
    if audit.files(folder):
        try:
            log.info("history of updates: %s", audit.verify(folder))
        except AuditError as exc:
            log.error("history of updates does not hold: %s", exc)


def _root_keys(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UpdateError(f"{path}: TUF's first root cannot be read: {exc.strerror}; docs/update.md") from exc


def _system(path: Path) -> int:
    """1 where it does not say."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 1


def _ca(settings: UpdateConfig, base: Path) -> Path | None:
    return base / settings.ca if settings.ca else None
