"""Make this box known to a report server: a one-time code, which its administrator gives out, becomes a token that is
kept where the uplink finds it. Run it as root on a box; the code is spent only when the token can be kept."""

from __future__ import annotations

import argparse
import ssl
import tempfile
from pathlib import Path

import msgspec

from edge.cli.site import Site, read_site
from edge.durable import write_atomically
from edge.errors import UplinkError, UsageError
from edge.uplink import credentials
from edge.uplink.config import ReportsConfig
from edge.uplink.report_http import LinkError, ReportServer

HELP = "get a report server's token for a one-time code"
TOKEN_MOST = 4096
WITHIN_S = 30.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="of the report server, as in [uplink.reports]")
    parser.add_argument("code", metavar="CODE", help="good once, and for a time")
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM file of who signed the server's certificate")


def main(options: argparse.Namespace) -> int:
    site = read_site(options.config)
    config = _reports(site, options.url, options.ca)
    trusts = credentials.report_server(config)
    place = Path(config.token_file)
    _prove_writable(place)
    token = _token(config, trusts, site.config.device, options.code)
    try:
        write_atomically(place, f"{token}\n".encode())  # readable by its owner alone
    except OSError as exc:
        raise UplinkError(f"{place}: {exc.strerror}; the code is spent, ask for another") from exc
    print(f"{config.url} knows this box as {site.config.device}; its token is in {place}")
    if site.uplink.reports is None:
        print(f'Add to {options.config}:\n[uplink.reports]\nurl = "{config.url}"')
        if config.ca:
            print(f'ca = "{config.ca}"')
    print("Then: systemctl restart endoedge-core endoedge-uplink")
    return 0


def _reports(site: Site, url: str, ca: Path | None) -> ReportsConfig:
    """As configured, or as it is going to be."""
    configured = site.uplink.reports
    if configured is not None:
        if configured.url.rstrip("/") != url.rstrip("/"):
            raise UsageError(f"{site.file}: uplink.reports.url is {configured.url}, not {url}: correct one of them")
        return msgspec.structs.replace(configured, ca=str(ca.resolve())) if ca else configured
    table = {"url": url, "ca": str(ca.resolve()) if ca else "", "timeout_s": WITHIN_S}
    try:
        config = msgspec.convert(table, ReportsConfig)
    except msgspec.ValidationError as exc:
        raise UsageError(f"{url!r} is no server's address: expected https://HOST, https://HOST:PORT/PATH") from exc
    return msgspec.structs.replace(config, token_file=str(Path(site.file).resolve().parent / config.token_file))


def _prove_writable(place: Path) -> None:
    """Before the code is spent."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as exc:
        raise UplinkError(f"{place.parent}: cannot be written: {exc.strerror}; run this as root") from exc


def _token(config: ReportsConfig, trusts: ssl.SSLContext | None, device: str, code: str) -> str:
    try:
        with ReportServer(config, trusts, "", lambda _size: None) as server:
            answer, token = server.enrol(device, code)
    except LinkError as exc:
        raise UplinkError(f"report server {config.url}: {exc}") from exc
    if answer.status != 201:
        raise UplinkError(f"report server {config.url}: {answer.said}")
    if not (token.isascii() and token.isprintable() and 0 < len(token) <= TOKEN_MOST) or " " in token:
        raise UplinkError(f"report server {config.url}: answers without a token: is it a report server?")
    return token
