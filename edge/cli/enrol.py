"""Make this box known to a report server: a one-time code, which its administrator gives out, becomes a token, or with
--certificate a certificate of a key that is made here and stays here. Run it as root on a box; the code is spent only
when what it buys can be kept. --renew: another certificate while the present one holds, which serves until it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.cli.site import Site, read_site
from edge.durable import write_atomically
from edge.errors import UplinkError, UsageError
from edge.uplink import credentials
from edge.uplink.config import ReportsConfig
from edge.uplink.handover import Answer
from edge.uplink.identity import Request
from edge.uplink.report_http import Given, LinkError, ReportServer

HELP = "get a report server's token or certificate for a one-time code"
CERTIFICATE = "credentials/report-certificate"
RESTART = "Then: systemctl restart endoedge-core endoedge-uplink"
TOKEN_MOST = 4096
WITHIN_S = 30.0
_MADE = 201


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="of the report server, as in [uplink.reports]")
    parser.add_argument("code", nargs="?", metavar="CODE", help="good once, and for a time")
    parser.add_argument("-c", "--config", type=Path, default=Path("/etc/endoedge/endoedge.toml"), metavar="FILE")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM file of who signed the server's certificate")
    parser.add_argument("--certificate", action="store_true", help="a certificate in place of a token")
    parser.add_argument("--renew", action="store_true", help="another certificate, by the present one; no URL, no CODE")


def main(options: argparse.Namespace) -> int:
    site = read_site(options.config)
    if options.renew:
        if options.url or options.ca or options.certificate:
            raise UsageError("--renew takes neither URL, CODE, --ca nor --certificate: the configuration has them")
        return _renew(site)
    if not options.code:
        raise UsageError("expected URL and CODE, or --renew")
    return _enrol(site, options)


def _enrol(site: Site, options: argparse.Namespace) -> int:
    config = _reports(site, options.url, options.ca)
    trusts, device = credentials.report_server(config), site.config.device
    wanted = options.certificate or bool(config.certificate_file)
    if wanted and trusts is None:
        raise UsageError(f"a certificate needs https, and the server is {config.url}")
    token_at = Path(config.token_file)
    certificate_at = Path(config.certificate_file or Path(site.file).resolve().parent / CERTIFICATE)
    request = _request(config, device) if wanted else None
    for place in (token_at, certificate_at) if wanted else (token_at,):
        _prove_writable(place)
    with _asking(config), ReportServer(config, trusts, "", lambda _size: None) as server:
        answer, given = server.enrol(device, options.code, request.text if request else "")
    certificate = _made(config, answer, request, given)
    if certificate:
        _write(certificate_at, certificate, "the code is spent, ask for another")
        print(f"{config.url} knows this box as {device}; its key and certificate are in {certificate_at}")
    else:
        _write(token_at, f"{_token(config, given)}\n".encode(), "the code is spent, ask for another")
        print(f"{config.url} knows this box as {device}; its token is in {token_at}")
        if wanted:
            print("It makes no certificates.")
    _say_what_is_missing(site, config, bool(certificate))
    return 0


def _renew(site: Site) -> int:
    config = site.uplink.reports
    if config is None or not config.certificate_file:
        raise UsageError(f"{site.file}: uplink.reports.certificate_file is not set: there is nothing to renew")
    config = msgspec.structs.replace(config, timeout_s=WITHIN_S)
    request, place = _request(config, site.config.device), Path(config.certificate_file)
    trusts, _ = credentials.report_access(config)
    _prove_writable(place)
    with _asking(config), ReportServer(config, trusts, "", lambda _size: None) as server:
        answer, given = server.renew(request.text)
    certificate = _made(config, answer, request, given)
    if not certificate:
        raise UplinkError(f"report server {config.url}: answers without a certificate: is it a report server?")
    _write(place, certificate, "the present one still serves")
    print(f"A new key and certificate are in {place}. {RESTART}")
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


def _request(config: ReportsConfig, device: str) -> Request:
    """Key and certificate are one file here, or a crash between two would leave one without the other."""
    if config.key_file:
        raise UsageError(
            f"uplink.reports.key_file is {config.key_file}: that key is not made here; take the line out, or have the "
            "certificate made where the key was"
        )
    return Request(device)


def _prove_writable(place: Path) -> None:
    """Before the code is spent."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as exc:
        raise UplinkError(f"{place.parent}: cannot be written: {exc.strerror}; run this as root") from exc


@contextlib.contextmanager
def _asking(config: ReportsConfig) -> Iterator[None]:
    """The server's name before what went wrong."""
    try:
        yield
    except LinkError as exc:
        raise UplinkError(f"report server {config.url}: {exc}") from exc


def _made(config: ReportsConfig, answer: Answer, request: Request | None, given: Given) -> bytes:
    """What is to be kept of a certificate; b"" where the answer has none."""
    if answer.status != _MADE:
        raise UplinkError(f"report server {config.url}: {answer.said}")
    try:
        return request.kept(given.certificate) if request and given.certificate else b""
    except UplinkError as exc:
        raise UplinkError(f"report server {config.url}: {exc}") from exc


def _token(config: ReportsConfig, given: Given) -> str:
    token = given.token
    if not (token.isascii() and token.isprintable() and 0 < len(token) <= TOKEN_MOST) or " " in token:
        raise UplinkError(f"report server {config.url}: answers without a token: is it a report server?")
    return token


def _write(place: Path, content: bytes, otherwise: str) -> None:
    """Readable by its owner alone."""
    try:
        write_atomically(place, content)
    except OSError as exc:
        raise UplinkError(f"{place}: {exc.strerror}; {otherwise}") from exc


def _say_what_is_missing(site: Site, config: ReportsConfig, certificate: bool) -> None:
    configured, lines = site.uplink.reports, list[str]()
    if configured is None:
        lines += ["[uplink.reports]", f'url = "{config.url}"']
        lines += [f'ca = "{config.ca}"'] if config.ca else []
    if certificate and not config.certificate_file:
        lines += [] if configured is None else ["[uplink.reports]  # is there already: this line below it"]
        lines += [f'certificate_file = "{CERTIFICATE}"']
    if lines:
        print("\n".join([f"Add to {site.file}:", *lines]))
    print(RESTART)
