"""A site whose core has something to commit all the time."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import clips, models


def site(folder: Path, port: int) -> Path:
    """A clip with a polyp now and then, looped at real rate; an alert in every frame that shows one."""
    models.build(folder / "models" / "green")
    busy = models.tables().replace('when = "track"', 'when = "track"\nrepeat_s = 0.0', 1)
    busy = busy.replace("start_s = 2.0", "start_s = 0.0")
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "colonoscopy.toml").write_text(busy)
    clips.encode(clips.with_field(50, polyp_from=5, polyp_to=45), folder / "clip.mkv")
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box"\npipeline = "colonoscopy"\npipelines_dir = "pipelines"\nmodels_dir = "models"\n'
        'run_dir = "run"\n[capture]\nsource = "file"\npath = "clip.mkv"\nloop = true\n'
        '[outbox]\npath = "outbox.db"\nmax_mib = 16\n'
        f'[uplink]\nhost = "127.0.0.1"\nport = {port}\nconfirm = "subscriber"\n'
        "retry_min_s = 0.05\nretry_max_s = 0.3\nkeepalive_s = 2\n"
    )
    return file


def works(pid: int, status_file: Path) -> bool:
    """Whether the status is this process's."""
    try:
        return bool(json.loads(status_file.read_text())["pid"] == pid)
    except (OSError, ValueError):
        return False
