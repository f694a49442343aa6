"""The site's `[uplink]` table: which broker, who we are to it, and what counts as delivered."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.types import Struct

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]  # safe in a topic, an ACL and a file name


class Tls(Struct, frozen=True, kw_only=True):
    """PEM files. `cert` and `key` (both or none) are this box's own identity."""

    ca: str
    cert: str = ""
    key: str = ""


class PushConfig(Struct, frozen=True, kw_only=True):
    """`[uplink.metrics.push]`: the same figures, sent to a Pushgateway or what speaks its protocol. `https` trusts and
    shows the certificates of `[uplink.tls]`, where that is."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9_.:\[\]-]{1,253}(/[A-Za-z0-9_./-]*)?$")]
    every_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 30.0


class MetricsConfig(Struct, frozen=True, kw_only=True):
    """`[uplink.metrics]`: figures for Prometheus at http://ADDRESS:PORT/metrics, for anybody who can reach it."""

    address: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9108  # 0: any that is free
    push: PushConfig | None = None


class ReportsConfig(Struct, frozen=True, kw_only=True):
    """`[uplink.reports]`: the server that makes reports of procedures. Plain http to this machine alone."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9_.:\[\]-]{1,253}(/[A-Za-z0-9_./-]*)?$")]
    token_file: str = "credentials/report-token"  # `endoedge enrol` writes it
    certificate_file: str = ""  # PEM: who this box is, in place of a token; `endoedge enrol --certificate` writes it
    key_file: str = ""  # PEM; "": its key is in the same file
    ca: str = ""  # PEM file; "": those whom this machine trusts
    rate_kib_s: Annotated[int, msgspec.Meta(ge=16, le=1_048_576)] = 4096  # at most; a tenth while messages wait
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=300)] = 30.0  # so long a server may be silent
    retry_min_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 2.0
    retry_max_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 300.0


class UplinkConfig(Struct, frozen=True, kw_only=True):
    """Broker, identity, delivery. Files are absolute paths."""

    host: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")] = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8883
    tls: Tls | None = None
    allow_plaintext: bool = False  # without `tls`: only to this machine, unless a person says otherwise
    client_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""  # "": the device id
    username: str = ""
    password_file: str = ""
    topic_prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")] = "endoedge"
    keepalive_s: Annotated[int, msgspec.Meta(ge=1, le=600)] = (
        15  # a frozen broker is noticed after 1.5 times this (2 s at least)
    )
    window: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 32  # messages under way at once, per topic

    # "broker": the broker's PUBACK is a delivery. "subscriber": only the consumer's own acknowledgement is (a message
    # with our correlation data on our response topic), so that even a broker that loses its memory loses nothing.
    confirm: Literal["broker", "subscriber"] = "broker"
    confirm_timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0

    # A PUBACK with reason 0x10 says "taken, and thrown away: nobody subscribes". With true that is no delivery and the
    # message is tried again. Brokers whose rule engine takes messages without a subscription (EMQX, AWS IoT) answer
    # 0x10 for messages that did arrive somewhere: set false there.
    require_subscriber: bool = True

    retry_min_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 0.5
    retry_max_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 30.0
    telemetry_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 5.0
    metrics: MetricsConfig | None = None  # needs the extra `metrics`
    reports: ReportsConfig | None = None  # None: records of procedures stay on this box
