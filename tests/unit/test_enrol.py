"""`endoedge enrol`: a code becomes a token where the uplink looks for it, or nothing changes and one line says why."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge import cli
from edge.cli.site import read_site
from edge.uplink import credentials
from tests.support.broker import Authority, free_port, missing_tools
from tests.support.report_server import CODE, TOKEN, serving


def site(folder: Path, more: str = "") -> Path:
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box-1"\npipeline = "colonoscopy"\n[capture]\nsource = "phantom"\n[uplink]\nhost = "localhost"\n'
        + more
    )
    return file


def enrol(url: str, code: str, file: Path, *more: str) -> int:
    return cli.main(["enrol", url, code, "-c", str(file), *more])


def test_the_token_is_where_the_uplink_finds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        file = site(tmp_path, f'[uplink.reports]\nurl = "{server.url}"\n')
        assert enrol(server.url + "/", CODE, file) == 0
        assert server.device == "box-1"
    reports = read_site(file).uplink.reports
    assert reports is not None
    assert credentials.report_token(reports) == TOKEN
    place = tmp_path / "credentials" / "report-token"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert str(place) in said
    assert "systemctl restart" in said
    assert TOKEN not in said


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_a_site_that_has_no_server_yet_is_told_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    with serving(authority.issue("server")) as server:
        file = site(tmp_path)
        assert enrol(server.url, CODE, file) == 1
        assert "its certificate is not accepted" in capsys.readouterr().err
        assert server.codes  # not spent
        assert enrol(server.url, CODE, file, "--ca", str(authority.ca)) == 0
    said = capsys.readouterr().out
    file.write_text(file.read_text() + said[said.index("[uplink.reports]") : said.index("Then:")])
    reports = read_site(file).uplink.reports
    assert reports is not None
    assert (reports.url, reports.ca) == (server.url, str(authority.ca))


def test_what_is_wrong_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "credentials" / "report-token"
    place.parent.mkdir()
    place.write_text("the old one\n")
    with serving() as server:
        file = site(tmp_path, f'[uplink.reports]\nurl = "{server.url}"\n')

        def said(code: int, url: str = server.url, word: str = CODE) -> str:
            assert enrol(url, word, file) == code
            return capsys.readouterr().err.strip()

        assert said(1, word="used").endswith("answers 403: expected a code that was not used yet")
        assert said(2, "https://elsewhere.example").endswith("correct one of them")
        server.fail = lambda method, path: 201  # without a token
        assert said(1).endswith("answers without a token: is it a report server?")
        server.fail = lambda method, path: 0
        (tmp_path / "credentials").rename(tmp_path / "away")
        (tmp_path / "credentials").write_text("a file in its place")
        assert "cannot be written: File exists; run this as root" in said(1)
        assert server.codes == {CODE}
    (tmp_path / "credentials").unlink()
    (tmp_path / "away").rename(tmp_path / "credentials")
    assert said(1).endswith("Connection refused")
    file = site(tmp_path)
    assert said(2, "ftp://x").endswith("expected https://HOST, https://HOST:PORT/PATH")
    assert "use https" in said(1, f"http://192.0.2.1:{free_port()}")
    assert place.read_text() == "the old one\n"
