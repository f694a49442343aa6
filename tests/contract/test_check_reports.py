"""The self-test's row of the report server, over real sockets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edge.cli import assemble, check
from edge.cli.checks import reports
from edge.cli.checks.trying import Advice
from edge.cli.site import Site
from edge.console.report import Row
from edge.errors import UplinkError
from tests.support.broker import Authority, Identity, free_port, missing_tools
from tests.support.report_server import TOKEN, ReportServer, serving


def looked(folder: Path, url: str, ca: Path | str = "", token: str = TOKEN) -> str | Advice:
    (folder / "token").write_text(f"{token}\n")
    file = folder / "endoedge.toml"
    file.write_text(
        'device = "box-1"\npipeline = "colonoscopy"\n[capture]\nsource = "phantom"\n[uplink]\n'
        f'[uplink.reports]\nurl = "{url}"\ntoken_file = "token"\nca = "{ca}"\n'
    )
    site = assemble.load_site(file)
    assert site.uplink.reports is not None
    return reports.report_server(site, site.uplink.reports)


def test_a_server_that_knows_us(tmp_path: Path) -> None:
    with serving() as server:
        assert looked(tmp_path, server.url) == f"{server.url} knows box-1"
        assert server.asked == ["GET 200 box"]


@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_certificates(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")

    def of(identity: Identity) -> str | Advice:
        with serving(identity) as server:
            return looked(tmp_path, server.url, authority.ca)

    found = of(authority.issue("server"))
    assert isinstance(found, Advice)  # it holds for two days
    assert found.found.endswith("knows box-1; its certificate 1 days")
    assert found.mend == "have the server's certificate renewed"
    found = of(authority.issue("server", days=60))
    assert isinstance(found, str)
    assert found.endswith("its certificate 59 days")
    with pytest.raises(UplinkError, match="certificate has expired; renew it, or correct this box's clock"):
        of(authority.issue("server", expired=True))
    with pytest.raises(UplinkError, match="its certificate is not accepted: unable to get local issuer"):
        of(other.issue("server"))


@pytest.mark.parametrize(("off_s", "said"), [(-90, "90 s ahead of"), (200, "200 s behind"), (-50, ""), (50, "")])
def test_clocks(tmp_path: Path, off_s: int, said: str) -> None:
    with serving() as server:
        server.clock_off = timedelta(seconds=off_s)
        found = looked(tmp_path, server.url)
    assert isinstance(found, str) == (not said)
    if isinstance(found, Advice):
        assert found.mend.startswith(f"this clock is {said} the server's; timedatectl")


def stranger(server: ReportServer, content: bytes) -> None:
    server.say = lambda method, path: (200, content)


def test_what_is_wrong(tmp_path: Path) -> None:
    with serving() as server:
        with pytest.raises(UplinkError, match=r"401: expected the token of a box .* gets a new token for a code"):
            looked(tmp_path, server.url, token="another")
        with pytest.raises(UplinkError, match="is empty; `endoedge enrol` gets one"):
            looked(tmp_path, server.url, token="")
        server.device = "box-2"
        with pytest.raises(UplinkError, match="knows us as box-2, and this is box-1: enrol this box"):
            looked(tmp_path, server.url)
        server.fail = lambda method, path: 503
        with pytest.raises(UplinkError, match="answers 503: told to answer 503"):
            looked(tmp_path, server.url)
        for content in (b"<html></html>", b"{}", b'{"device": "box-1"}', b'{"device": "box-1", "time": "2026-01-01"}'):
            stranger(server, content)
            with pytest.raises(UplinkError, match="but not as a report server does: correct"):
                looked(tmp_path, server.url)
    with pytest.raises(UplinkError, match="Connection refused"):
        looked(tmp_path, f"http://127.0.0.1:{free_port()}")


def test_it_is_a_row_where_there_is_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        looked(tmp_path, server.url)
        site = assemble.load_site(tmp_path / "endoedge.toml")
        monkeypatch.setattr(check.broker, "greeting", lambda site: "")

        def rows(site: Site) -> dict[str, Row]:
            return {row.what: row for row in check._of_the_site(site, None, check.How(beside=True))}

        assert rows(site)["report server"].good
        without = msgspec.structs.replace(site.uplink, reports=None)
        assert "report server" not in rows(msgspec.structs.replace(site, uplink=without))
