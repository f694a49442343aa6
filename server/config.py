"""`server.toml` → frozen structs, read once at start. An unknown key, a wrong type or a value out of range is a
ConfigError that names file and key. Relative paths are relative to that file. Without a file: every default.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from edge.errors import ConfigError
from edge.types import Struct
from server.export.send import Pacs, Web
from server.report import Language
from server.role import Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Http(Struct, frozen=True, kw_only=True):
    """`[http]`: where boxes and people come in. Without a certificate: this machine alone."""

    address: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8443  # 0: a free one
    url: Annotated[str, Meta(pattern=r"^(https?://[^\s/]+)?\Z")] = ""  # as people reach it, behind a proxy
    certificate: str = ""  # PEM file, with its chain
    key: str = ""  # PEM file
    proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed
    metrics_token_file: str = ""  # who has it may read `/metrics` and why `/health` says no; "": this machine may


class Bucket(Struct, frozen=True, kw_only=True):
    """`[bucket]`: key frames in S3-compatible storage instead of `data_dir`. Without files of a key: as the environment
    or the machine's role has it."""

    url: Annotated[
        str, Meta(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?\Z")
    ]  # s3://BUCKET/PREFIX
    endpoint: Annotated[str, Meta(pattern=r"^(https?://[^\s/]+)?\Z")] = ""  # "": Amazon's
    region: str = ""
    key_file: str = ""  # the access key's id
    secret_file: str = ""
    ca: str = ""  # PEM file; "": those whom this machine trusts


class Draft(Struct, frozen=True, kw_only=True):
    """`[draft]`: who words a draft. Without `url` the template alone."""

    url: Annotated[str, Meta(pattern=r"^(https?://[^\s]+[^/\s])?\Z")] = ""  # of an OpenAI-compatible API, ".../v1"
    model: str = ""
    key_file: str = ""  # the API's key
    ca: str = ""
    timeout_s: Seconds = 60.0
    frames_most: Annotated[int, Meta(ge=0, le=32)] = 8  # key frames in one request
    tokens_most: Annotated[int, Meta(ge=64, le=16_384)] = 2048
    at_once: Annotated[int, Meta(ge=1, le=256)] = 2  # requests of one worker


class Sign(Struct, frozen=True, kw_only=True):
    """`[sign]`."""

    signatures: Annotated[int, Meta(ge=1, le=2)] = 1  # of different people, until a report is final


class Service(Web, frozen=True, kw_only=True):
    """Secrets may lie in files of their own."""

    token_file: str = ""
    password_file: str = ""


class Export(Struct, frozen=True, kw_only=True):
    """`[export]`: where a report goes. Drafts only where `drafts` says so."""

    pacs: Pacs | None = None
    stow: Service | None = None
    fhir: Service | None = None
    drafts: bool = False


class Oidc(Struct, frozen=True, kw_only=True):
    """`[oidc]`: an identity provider of the hospital's, for OpenID Connect."""

    issuer: Annotated[str, Meta(pattern=r"^https?://[^\s?#]+\Z")]  # exactly as the provider names itself
    client_id: Annotated[str, Meta(min_length=1)]
    client_secret_file: str = ""  # "": a public client, by PKCE alone
    ca: str = ""  # a file of certificates; "" the system's
    role_claim: str = "groups"  # of the ID token; a.b: of an object in it
    roles: dict[str, Role]  # a value of that claim → a role; of several the highest
    name_claim: str = "preferred_username"
    only: bool = False  # nobody logs in with a password of ours
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0

    def __post_init__(self) -> None:
        if self.issuer.startswith("http://") and urlsplit(self.issuer).hostname not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise ValueError(f"issuer {self.issuer}: expected https://")


class Retention(Struct, frozen=True, kw_only=True):
    """`[retention]`: how long procedures are kept, after they came and were last changed. 0: until somebody erases
    them."""

    days: Annotated[int, Meta(ge=0, le=36_500)] = 0  # signed, and delivered
    drafts_days: Annotated[int, Meta(ge=0, le=36_500)] = 0  # never signed


class Worklist(Struct, frozen=True, kw_only=True):
    """`[worklist]`: whom the hospital has planned; a folder, or `[worklist.dicom]`."""

    folder: str = ""  # of JSON files
    dicom: Pacs | None = None
    modality: Annotated[str, Meta(max_length=16)] = "ES"
    station: Annotated[str, Meta(max_length=16)] = ""  # its application entity; "" any
    zone: str = ""  # of the hospital's times: "Europe/Berlin"; "" this machine's
    hours: Annotated[float, Meta(gt=0, le=168)] = 12.0  # before and after the procedure
    most: Annotated[int, Meta(ge=1, le=500)] = 50  # entries to choose from

    def __post_init__(self) -> None:
        if bool(self.folder) == (self.dicom is not None):
            raise ValueError("expected either folder or a table [worklist.dicom]")
        try:
            ZoneInfo(self.zone or "UTC")
        except (ValueError, OSError, ZoneInfoNotFoundError) as exc:
            raise ValueError(f"zone {self.zone!r}: expected one like Europe/Berlin") from exc


class Config(Struct, frozen=True, kw_only=True):
    """`server.toml`."""

    data_dir: str = "endoedge-server"  # key frames, and the database where it is SQLite
    database: Annotated[str, Meta(pattern=r"^(postgresql://[^\s]+)?\Z")] = ""  # "": SQLite in `data_dir`
    institution: Annotated[str, Meta(max_length=64)] = ""
    language: Language = "en"
    http: Http = Http()
    bucket: Bucket | None = None
    draft: Draft = Draft()
    sign: Sign = Sign()
    export: Export = Export()
    oidc: Oidc | None = None
    worklist: Worklist | None = None
    retention: Retention = Retention()

    @property
    def folder(self) -> Path:
        return Path(self.data_dir)


def load(file: Path | None) -> Config:
    """Raises ConfigError."""
    if file is None:
        return Config()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: not TOML: {exc}") from exc
    try:
        config = msgspec.convert(content, Config)
    except msgspec.ValidationError as exc:
        text, _, at = str(exc).partition(" - at `$.")
        key = re.sub(r"`$", "", at)
        raise ConfigError(f"{file}: {key}: {text}" if key else f"{file}: {text}") from exc
    return _beside(config, file.absolute().parent)


def _beside(config: Config, folder: Path) -> Config:
    """With its paths absolute."""

    def path(name: str) -> str:
        return str(folder / name) if name else ""

    replace = msgspec.structs.replace
    files = {name: path(getattr(config.http, name)) for name in ("certificate", "key", "metrics_token_file")}
    http = replace(config.http, **files)
    bucket = config.bucket
    if bucket is not None:
        names = ("key_file", "secret_file", "ca")
        bucket = replace(bucket, **{name: path(getattr(bucket, name)) for name in names})
    draft = replace(config.draft, key_file=path(config.draft.key_file), ca=path(config.draft.ca))
    oidc = config.oidc
    if oidc is not None:
        oidc = replace(oidc, client_secret_file=path(oidc.client_secret_file), ca=path(oidc.ca))
    worklist = config.worklist
    if worklist is not None:
        dicom = worklist.dicom and replace(worklist.dicom, ca=path(worklist.dicom.ca))
        worklist = replace(worklist, folder=path(worklist.folder), dicom=dicom)
    export = _export(config.export, folder)
    told = {"http": http, "bucket": bucket, "draft": draft, "oidc": oidc, "export": export, "worklist": worklist}
    return replace(config, data_dir=path(config.data_dir), **told)


def _export(export: Export, folder: Path) -> Export:
    """With its secrets. Raises ConfigError."""
    replace = msgspec.structs.replace
    pacs = export.pacs and replace(export.pacs, ca=str(folder / export.pacs.ca) if export.pacs.ca else "")
    services = {name: _service(name, getattr(export, name), folder) for name in ("stow", "fhir")}
    return replace(export, pacs=pacs, **services)


def _service(name: str, service: Service | None, folder: Path) -> Service | None:
    if service is None:
        return None
    told: dict[str, str] = {"ca": str(folder / service.ca) if service.ca else ""}
    for key in ("token", "password"):
        file = getattr(service, f"{key}_file")
        if file and getattr(service, key):
            raise ConfigError(f"export.{name}: {key} and {key}_file: expected one of them")
        if file:
            told[key] = _secret(f"export.{name}.{key}_file", folder / file)
    return msgspec.structs.replace(service, **told)


def _secret(key: str, file: Path) -> str:
    """A file's first line."""
    try:
        secret = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{key} {file}: {exc.strerror if isinstance(exc, OSError) else 'not text'}") from exc
    if not secret:
        raise ConfigError(f"{key} {file}: empty")
    return secret
