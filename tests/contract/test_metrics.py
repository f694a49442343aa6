"""`/metrics` over HTTP, and the dashboard that reads it."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.errors import UplinkError
from edge.record.spool import SpoolStatus
from edge.status import CopyStatus, CoreStatus, ModelStatus, StageStatus
from edge.types import BoardReading, SignalState, SourceStats, Zone
from edge.updating import UpdateStatus
from edge.uplink.config import MetricsConfig
from edge.uplink.metrics import METRICS, Exporter
from tests.support.broker import free_port
from tests.support.statuses import UPLINK
from tests.support.updating import said
from tests.support.waiting import wait_for
from tests.support.wheels import importable

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "endoedge.json"
ANY_PORT = MetricsConfig(port=0)

BOARD = BoardReading(
    kind="jetson",
    read_ns=1,
    zones={"gpu-thermal": Zone(temperature_c=61.5, limit_c=99.0), "cv0-thermal": Zone()},
    power_w={"VDD_IN": 17.25, "VDD_SOC": None},
    clocks_mhz={"gpu": 918.0},
    gpu_load=0.25,
    throttled=("cpu",),
    throttle_events={"cpu": 3},
)


def core(**changes: Any) -> CoreStatus:
    status = CoreStatus(
        device="box-1",
        version="0.1.0",
        pid=2,
        pipeline="colonoscopy",
        model=ModelStatus(name="polyp", version="3", precision="int8", sha256="0" * 64, backend="onnx"),
        state=SignalState.LIVE,
        detail="",
        view="good",
        detections=0,
        best_score=0.0,
        classes={},
        landmarks=[],
        updated_ns=time.monotonic_ns(),
        uptime_s=12.5,
        fps=59.9,
        source=SourceStats(frames=100, dropped=3),
        copies=CopyStatus(h2d=1.0),
        stages={"infer": StageStatus(p50_ms=2.5, p99_ms=4.0)},
        events=5,
        alerts=2,
        waiting=0,
        fault="",
        spool=SpoolStatus(bytes=1000),
        board=BOARD,
    )
    return msgspec.structs.replace(status, **changes)


def update(**changes: Any) -> UpdateStatus:
    looked = datetime.now(timezone.utc) - timedelta(hours=2)
    return said(time.monotonic_ns(), checked_at=looked.strftime("%Y-%m-%dT%H:%M:%SZ"), refused=("1.4.0",), **changes)


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    running = Exporter(ANY_PORT, tmp_path)
    yield running
    running.close()


def scrape(exporter: Exporter) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_the_status_files(exporter: Exporter) -> None:
    exporter.show(UPLINK, core(), update())
    found = values(scrape(exporter))
    assert {
        ("endoedge_core_up",): 1.0,
        ("endoedge_signal_state", "live"): 1.0,
        ("endoedge_signal_state", "no_signal"): 0.0,
        ("endoedge_frames_per_second",): 59.9,
        ("endoedge_frames_total", "dropped"): 3.0,
        ("endoedge_stage_seconds", "p99", "infer"): 0.004,
        ("endoedge_copies_per_frame", "h2d"): 1.0,
        ("endoedge_temperature_celsius", "gpu-thermal"): 61.5,
        ("endoedge_power_watts", "VDD_IN"): 17.25,
        ("endoedge_throttle_events_total", "cpu"): 3.0,
        ("endoedge_outbox_messages",): 7.0,
        ("endoedge_delivered_total",): 8.0,
        ("endoedge_fault", "uplink"): 0.0,
        ("endoedge_clock_trusted",): 1.0,
        ("endoedge_clock_source", "chrony"): 1.0,
        ("endoedge_clock_error_seconds",): 0.02,
        ("endoedge_update_up",): 1.0,
        ("endoedge_update_state", "idle"): 1.0,
        ("endoedge_update_state", "trying"): 0.0,
        ("endoedge_update_trial",): 0.0,
        ("endoedge_update_refused_versions",): 1.0,
        ("endoedge_fault", "update"): 0.0,
    }.items() <= found.items()
    assert ("endoedge_temperature_celsius", "cv0-thermal") not in found  # not known, and so not zero
    assert ("endoedge_power_watts", "VDD_SOC") not in found
    assert found[("endoedge_disk_free_bytes",)] > 0


@pytest.mark.parametrize("gone", [None, core(updated_ns=time.monotonic_ns() - 60 * 10**9)], ids=["none", "stale"])
def test_a_core_that_is_gone_has_no_figures(exporter: Exporter, gone: CoreStatus | None) -> None:
    exporter.show(msgspec.structs.replace(UPLINK, depth=-1, last_error="away", safe="it hung"), gone)
    found = values(scrape(exporter))
    assert found[("endoedge_core_up",)] == 0
    assert found[("endoedge_safe_state",)] == 1
    assert found[("endoedge_fault", "uplink")] == 1
    names = {name for name, *_ in found}
    assert not names & {"endoedge_frames_per_second", "endoedge_signal_state", "endoedge_outbox_messages"}


@pytest.mark.parametrize("looked", ["", "nonsense", "2100-01-01T00:00:00Z"])
def test_a_channel_that_was_not_seen_yet_has_no_age(exporter: Exporter, looked: str) -> None:
    """The third: one of the clocks was wrong."""
    told = msgspec.structs.replace(update(), checked_at=looked, trouble="expired metadata")
    exporter.show(UPLINK, None, told)
    found = values(scrape(exporter))
    assert ("endoedge_update_checked_seconds",) not in found
    assert found[("endoedge_fault", "update")] == 1
    exporter.show(UPLINK, None, update())
    assert values(scrape(exporter))[("endoedge_update_checked_seconds",)] == pytest.approx(7200, abs=600)


def test_an_updater_that_is_silent_has_no_figures(exporter: Exporter) -> None:
    for gone in (None, msgspec.structs.replace(update(), updated_ns=time.monotonic_ns() - 60 * 10**9)):
        exporter.show(UPLINK, None, gone)
        found = values(scrape(exporter))
        assert {name for name, *_ in found if "update" in name} == {"endoedge_update_up"}
        assert found[("endoedge_update_up",)] == 0


def test_nothing_is_said_before_anything_is_known(exporter: Exporter) -> None:
    assert values(scrape(exporter)) == {}


def test_a_port_that_is_taken_is_named(exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(UplinkError, match=rf"cannot listen at 127.0.0.1:{exporter.port}"):
        Exporter(MetricsConfig(port=exporter.port), tmp_path)


# ------------------------------------------------------------------------------------------- dashboard


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_asks_for_what_is_exported(exporter: Exporter) -> None:
    """Names, the labels that are asked by, and nothing that nobody looks at by mistake."""
    exporter.show(UPLINK, core(), update())
    exported = {name for name, *_ in values(scrape(exporter))}
    assert exported == {metric.name for metric in METRICS}
    labels = {metric.name: {*metric.labels, "instance"} for metric in METRICS}
    for expr in expressions():
        asked = re.findall(r"(endoedge_\w+)\{([^}]*)\}", expr)
        assert asked, expr
        assert len(asked) == expr.count("endoedge_"), expr
        for name, selector in asked:
            assert name in exported, expr
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) <= labels[name], expr


def test_the_dashboards_variables_and_panels_are_whole() -> None:
    document = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    assert {variable["name"] for variable in document["templating"]["list"]} == {"datasource", "instance"}
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in document["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


def test_grafanas_own_types_read_the_dashboard_and_lose_nothing() -> None:
    importable("grafana-foundation-sdk==1769699998!10.1.0", "grafana_foundation_sdk")
    types = importlib.import_module("grafana_foundation_sdk.models.dashboard")
    encoder = importlib.import_module("grafana_foundation_sdk.cog.encoder").JSONEncoder
    document = json.loads(DASHBOARD.read_text())
    written = json.loads(json.dumps(types.Dashboard.from_json(document), cls=encoder))
    assert list(_lost(document, written)) == []


def _lost(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where `ours` says what `theirs` does not."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            yield from _lost(value, theirs.get(key), f"{place}.{key}")
    elif isinstance(ours, list):
        for number, value in enumerate(ours):
            yield from _lost(value, theirs[number], f"{place}[{number}]")
    elif ours != theirs:
        yield f"{place}: {ours!r}, {theirs!r}"


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not here")
def test_promtool_reads_both(exporter: Exporter, tmp_path: Path) -> None:
    exporter.show(UPLINK, core(), update())
    checked = subprocess.run(["promtool", "check", "metrics"], input=scrape(exporter), capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    rules = [
        {"record": f"endoedge:panel:{n}", "expr": expr.replace("$__rate_interval", "1m")}
        for n, expr in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus (Debian: prometheus) is not here")
def test_a_real_prometheus_answers_every_panel(exporter: Exporter, tmp_path: Path) -> None:
    exporter.show(UPLINK, core(), update())
    port = free_port()
    jobs = [{"job_name": "box", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]}]
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(["prometheus", *options], stderr=log) as process:
        try:

            def ask(expr: str) -> list[Any]:
                query = urllib.parse.urlencode({"query": expr})
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as answer:
                    return list(json.load(answer)["data"]["result"])

            def scraped_twice() -> bool:
                with contextlib.suppress(OSError):
                    return bool(ask("count_over_time(endoedge_core_up[1m]) >= 2"))
                return False

            wait_for(scraped_twice, "Prometheus has scraped twice")
            for expr in expressions():
                exporter.show(UPLINK, core(), update())
                plain = expr.replace("$__rate_interval", "1m").replace('"$instance"', '".+"')
                assert ask(plain), expr
        finally:
            process.terminate()
