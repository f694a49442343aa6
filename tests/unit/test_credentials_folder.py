"""Secrets come from where systemd puts them; all other files from where the configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.cli.site import resolve_paths
from edge.uplink.config import ReportsConfig, Tls, UplinkConfig

BASE = Path("/etc/endoedge")
CONFIG = UplinkConfig(
    username="box",
    password_file="credentials/mqtt-password",
    reports=ReportsConfig(url="https://r.example", ca="ca.pem", certificate_file="credentials/report-certificate"),
    tls=Tls(ca="ca.pem", cert="/elsewhere/box.pem", key="/etc/endoedge/credentials/tls-key"),
)


def test_under_the_unit_secrets_are_the_ones_that_systemd_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/endoedge-uplink.service")
    resolved = resolve_paths(CONFIG, BASE)
    assert resolved.password_file == "/run/credentials/endoedge-uplink.service/mqtt-password"
    assert resolved.tls == Tls(
        ca="/etc/endoedge/ca.pem",
        cert="/elsewhere/box.pem",
        key="/run/credentials/endoedge-uplink.service/tls-key",
    )
    assert resolved.reports is not None
    assert resolved.reports.token_file == "/run/credentials/endoedge-uplink.service/report-token"
    assert resolved.reports.ca == "/etc/endoedge/ca.pem"
    assert resolved.reports.certificate_file == "/run/credentials/endoedge-uplink.service/report-certificate"
    assert resolved.reports.key_file == ""


def test_for_a_person_they_are_where_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    resolved = resolve_paths(CONFIG, BASE)
    assert resolved.password_file == "/etc/endoedge/credentials/mqtt-password"
    assert resolved.tls is not None
    assert resolved.tls.key == "/etc/endoedge/credentials/tls-key"
    assert resolve_paths(UplinkConfig(), BASE).password_file == ""
