"""The box's own uplink and commands against the real server in a process of its own: enrolled by a code, asked by the
self-test, procedures handed over while the server is killed again and again."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from edge import cli, spooled
from edge.cli import assemble
from edge.cli.checks import reports as row
from edge.errors import UplinkError
from edge.procedure import Finding, KeyFrame, Record
from edge.uplink import reports
from edge.uplink.reports import Reports
from server.enrolment import make_code, revoke
from server.store.tables import frames, records
from tests.support.procedures import record
from tests.support.report_service import ReportService
from tests.support.waiting import wait_for

PROCEDURES, FRAMES = 6, 4


def site(folder: Path, url: str) -> Path:
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box-1"\npipeline = "colonoscopy"\n[capture]\nsource = "phantom"\n[uplink]\n'
        f'[uplink.reports]\nurl = "{url}"\nretry_min_s = 0.05\nretry_max_s = 0.2\n'
    )
    return file


def picture(seed: int) -> bytes:
    """A JPEG that can be shown."""
    file = io.BytesIO()
    Image.effect_noise((64, 48), 20 + seed).save(file, "JPEG")
    return file.getvalue()


def lay(spool: Path, name: str, seed: int) -> Record:
    pictures = [picture(seed + number) for number in range(FRAMES)]
    made = record(name)
    findings = []
    for number, content in enumerate(pictures, start=1):
        kept = KeyFrame(sha256=hashlib.sha256(content).hexdigest(), size=len(content), width=64, height=48, at_s=1.5)
        findings.append(
            Finding(
                id=f"F{number}", label="polyp", track=number, phase="", first_seen_s=1.0, last_seen_s=2.0,
                best_seen_s=1.5, frames=9, best_score=0.9, alerted=True, scores=(0.7, 0.9, 0.0, 0.8),
                scores_every_s=0.25, key_frame=kept,
            )
        )  # fmt: skip
    made = msgspec.structs.replace(made, findings=tuple(findings))
    folder = spool / name
    folder.mkdir(parents=True)
    for number, content in enumerate(pictures, start=1):
        (folder / f"polyp-{number:04d}.jpg").write_bytes(content)
    (folder / spooled.RECORD).write_bytes(msgspec.json.encode(made))
    return made


@pytest.mark.timeout(180)
def test_from_the_code_to_the_last_procedure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LOOK_S", 0.05)
    spool = tmp_path / "spool"
    with ReportService(tmp_path / "server", worker=False) as service:
        file = site(tmp_path, service.url)
        code = make_code(service.database, "box-1", "admin")
        assert cli.main(["enrol", service.url, code, "-c", str(file)]) == 0
        assert cli.main(["enrol", service.url, code, "-c", str(file)]) == 1  # good once
        configured = assemble.load_site(file)
        config = configured.uplink.reports
        assert config is not None
        assert row.report_server(configured, config) == f"{service.url} knows box-1"

        made = {f"run-{number}": lay(spool, f"run-{number}", number * FRAMES) for number in range(PROCEDURES)}
        upload = Reports(msgspec.structs.replace(config, rate_kib_s=64), spool)
        try:
            for _ in range(2):
                sent = upload.status().sent
                wait_for(lambda before=sent: upload.status().sent > before, service.log())
                service.kill()
                time.sleep(0.2)
                service.start()
            wait_for(lambda: upload.status().sent == PROCEDURES, service.log(), 60)
            assert (upload.status().aside, upload.status().fault) == ({}, "")
        finally:
            upload.close()
        with service.database.read() as connection:
            kept = {line.procedure: line.body for line in connection.execute(records.select())}
            pictures = {line.sha256 for line in connection.execute(frames.select())}
        assert {name: msgspec.json.decode(body, type=Record) for name, body in kept.items()} == made
        assert pictures == {frame.sha256 for one in made.values() for frame in one.key_frames()}
        assert all(spooled.is_sent(spool / name) for name in made)

        revoke(service.database, "box-1", by="admin")
        with pytest.raises(UplinkError, match=r"answers 401: .*gets a new token for a code"):
            row.report_server(configured, config)
