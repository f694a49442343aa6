"""What proves who we are: the files that `[uplink]` names. What retrying cannot mend in them is an UplinkError."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from edge.errors import UplinkError
from edge.uplink.config import ReportsConfig, Tls, UplinkConfig

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Named(NamedTuple):
    """Keys of the configuration."""

    table: str
    cert: str
    key: str


_BROKER = _Named("uplink.tls", "cert", "key")
_REPORTS = _Named("uplink.reports", "certificate_file", "key_file")


class _Socket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho drops it unclosed, once per attempt."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class Credentials(NamedTuple):
    """`tls` is None for plain TCP."""

    username: str
    password: str
    tls: ssl.SSLContext | None


def load(config: UplinkConfig) -> Credentials:
    """Read the files that `[uplink]` names. Raises UplinkError naming key and file."""
    if config.retry_min_s > config.retry_max_s:
        raise UplinkError(f"uplink.retry_min_s is {config.retry_min_s}, above retry_max_s {config.retry_max_s}")
    if config.tls is None and config.host not in _LOOPBACK and not config.allow_plaintext:
        raise UplinkError(
            f"uplink.host {config.host!r} is another machine: give [uplink.tls] ca (and cert, key), "
            "or set allow_plaintext = true on a network that only you can reach"
        )
    push = urlsplit(config.metrics.push.url if config.metrics and config.metrics.push else "")
    if push.scheme == "http" and push.hostname not in _LOOPBACK and not config.allow_plaintext:
        raise UplinkError(
            f"uplink.metrics.push.url names another machine, {push.hostname}: use https, or set uplink.allow_plaintext"
        )
    if config.reports is not None:
        report_server(config.reports)
    if config.password_file and not config.username:
        raise UplinkError("uplink.password_file needs uplink.username beside it")
    password = _first_line("uplink.password_file", config.password_file) if config.password_file else ""
    return Credentials(config.username, password, _context(config.tls) if config.tls else None)


def report_server(config: ReportsConfig) -> ssl.SSLContext | None:
    """Whom we trust to be it; None for plain http. Raises UplinkError naming the key."""
    if config.retry_min_s > config.retry_max_s:
        raise UplinkError(f"uplink.reports.retry_min_s is {config.retry_min_s}, above retry_max_s {config.retry_max_s}")
    url = urlsplit(config.url)
    try:
        _ = url.port
    except ValueError as exc:
        raise UplinkError(f"uplink.reports.url {config.url}: {exc}") from exc
    if url.scheme == "http":
        if url.hostname not in _LOOPBACK:
            raise UplinkError(f"uplink.reports.url names another machine, {url.hostname}: use https")
        return None
    if config.ca:
        _check_readable("uplink.reports.ca", config.ca)
    try:
        context = ssl.create_default_context(cafile=config.ca or None)  # verifies chain and host name
    except ssl.SSLError as exc:
        raise UplinkError(f"uplink.reports.ca {config.ca}: holds no PEM certificate ({exc.reason})") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def report_access(config: ReportsConfig) -> tuple[ssl.SSLContext | None, str]:
    """Whom we trust, and our token; or, where we have one, our certificate in it and "". Read anew each time: somebody
    may have mended it. Raises UplinkError."""
    trusts = report_server(config)
    if not config.certificate_file:
        if config.key_file:
            raise UplinkError("uplink.reports.key_file needs certificate_file beside it")
        return trusts, report_token(config)
    if trusts is None:
        raise UplinkError(f"uplink.reports.certificate_file needs https, and url is {config.url}")
    try:
        for key, name in (("certificate_file", config.certificate_file), ("key_file", config.key_file)):
            if name:
                _check_readable(f"uplink.reports.{key}", name)
        _load_identity(trusts, config.certificate_file, config.key_file, _REPORTS)
    except UplinkError as exc:
        raise UplinkError(f"{exc}; `endoedge enrol --certificate` gets one from the server") from exc
    return trusts, ""


def report_token(config: ReportsConfig) -> str:
    """Raises UplinkError: there is none yet."""
    try:
        token = _first_line("uplink.reports.token_file", config.token_file)
    except UplinkError as exc:
        raise UplinkError(f"{exc}; `endoedge enrol` gets one from the server") from exc
    if not token.isascii() or not token.isprintable():
        raise UplinkError(f"uplink.reports.token_file {config.token_file}: holds no token in its first line")
    return token


def _first_line(key: str, name: str) -> str:
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UplinkError(f"{key} {name}: cannot be read: {exc}") from exc
    if not lines or not lines[0]:
        raise UplinkError(f"{key} {name}: is empty")
    return lines[0]


def _context(tls: Tls) -> ssl.SSLContext:
    if bool(tls.cert) != bool(tls.key):
        raise UplinkError("uplink.tls.cert and uplink.tls.key belong together: give both or none")
    for key, name in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if name or key == "ca":
            _check_readable(f"uplink.tls.{key}", name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    try:
        context.load_verify_locations(cafile=tls.ca)
    except ssl.SSLError as exc:
        raise UplinkError(f"uplink.tls.ca {tls.ca}: holds no PEM certificate ({exc.reason})") from exc
    if tls.cert:
        _load_identity(context, tls.cert, tls.key, _BROKER)
    return context


def _check_readable(key: str, name: str) -> None:
    try:
        Path(name).read_bytes()
    except OSError as exc:
        raise UplinkError(f"{key} {name!r}: cannot be read: {exc.strerror}") from exc


def _load_identity(context: ssl.SSLContext, cert: str, key: str, named: _Named) -> None:
    """`key`: "" where it is in `cert`, too."""
    try:
        # An encrypted key would make OpenSSL ask on a terminal that nobody sits at.
        context.load_cert_chain(cert, key or None, password=lambda: "")
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise UplinkError(
                f"{named.table}.{named.key} {key or cert}: is not the key of {named.cert} {cert}"
            ) from exc
        beside = f", {named.key} {key}" if key else ""
        raise UplinkError(
            f"{named.table}.{named.cert} {cert}{beside}: not a PEM certificate with an unencrypted PEM key ({exc})"
        ) from exc
