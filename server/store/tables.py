"""The tables. Documents (records, reports, patients) are kept as the JSON that they are, beside the columns by which
they are found. Times are RFC 3339, UTC, with six decimals, so that their text sorts as they do (`server.clock.now`).

`boxes`, `codes`, `accounts`, `sessions`, `listed`, `attempts` and `deliveries` are changed in place. The rest is added
to, and triggers see to it where somebody may have to answer for it; of a procedure with a tombstone in `erased`, rows
may be deleted.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
_NAME, _DIGEST, _TIME = String(64), String(64), String(27)


def _procedure() -> list[Column[str]]:
    return [Column("device", _NAME, primary_key=True), Column("procedure", _NAME, primary_key=True)]


boxes = Table(
    "boxes",
    metadata,
    Column("device", _NAME, primary_key=True),
    Column("token", _DIGEST, unique=True),  # sha256 of it; NULL: a certificate alone
    Column("certificate", _DIGEST, unique=True),  # sha256 of the DER; NULL: a token alone
    Column("renewed", _DIGEST),  # of the certificate that takes its place as soon as the box shows it
    Column("enrolled_at", _TIME, nullable=False),
    Column("enrolled_by", _NAME, nullable=False),  # who made the code
    Column("revoked_at", _TIME),
    Column("seen_at", _TIME),
    Column("software", String(128), nullable=False, server_default=""),
    Index("boxes_renewed", "renewed", unique=True),
)
codes = Table(  # one-time codes of enrolment
    "codes",
    metadata,
    Column("code", _DIGEST, primary_key=True),  # sha256 of it
    Column("device", _NAME, nullable=False),  # for whom
    Column("made_by", _NAME, nullable=False),
    Column("made_at", _TIME, nullable=False),
    Column("ends_at", _TIME, nullable=False),
    Column("used_at", _TIME),
)
frames = Table(  # whose key frames are kept; the pictures themselves are in `server.keep`
    "frames",
    metadata,
    Column("device", _NAME, primary_key=True),
    Column("sha256", _DIGEST, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("received_at", _TIME, nullable=False),
)
pictures = Table(  # which procedures of a box show which of its key frames
    "pictures",
    metadata,
    Column("device", _NAME, primary_key=True),
    Column("sha256", _DIGEST, primary_key=True),
    Column("procedure", _NAME, primary_key=True),
    Index("pictures_of", "device", "procedure"),
)
discards = Table(  # files of key frames that are to go; the row goes after the file
    "discards",
    metadata,
    Column("sha256", _DIGEST, primary_key=True),
    Column("at", _TIME, nullable=False),
)
records = Table(
    "records",
    metadata,
    *_procedure(),
    Column("revision", Integer, primary_key=True),
    Column("state", _NAME, nullable=False),
    Column("pipeline", _NAME, nullable=False),
    Column("started_at", String(64), nullable=False),  # as the box believed
    Column("digest", _DIGEST, nullable=False),  # of the body
    Column("body", LargeBinary, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Index("records_received", "received_at"),
)
undrafted = Table(  # records without a report: the workers look here all the time, and it stays small
    "undrafted",
    metadata,
    *_procedure(),
    Column("revision", Integer, primary_key=True),
    Column("received_at", _TIME, nullable=False),
    ForeignKeyConstraint(
        ["device", "procedure", "revision"],
        ["records.device", "records.procedure", "records.revision"],
        ondelete="CASCADE",
    ),
    Index("undrafted_received", "received_at", "device", "procedure", "revision"),
)
listed = Table(  # what the list shows of a procedure's newest revision, so that it reads no document (server.listing)
    "listed",
    metadata,
    *_procedure(),
    Column("revision", Integer, nullable=False),
    Column("state", _NAME, nullable=False),  # the record's
    Column("pipeline", _NAME, nullable=False),
    Column("started_at", String(64), nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("report", String(16), nullable=False, server_default=""),  # server.report.State; "": none yet
    Column("number", Integer, nullable=False, server_default="0"),  # of the report's newest version
    Column("touched_at", _TIME, nullable=False),  # the record or its report came or changed
    ForeignKeyConstraint(
        ["device", "procedure", "revision"],
        ["records.device", "records.procedure", "records.revision"],
        ondelete="CASCADE",
    ),
    Index("listed_received", "received_at", "device", "procedure"),
    Index("listed_report", "report", "received_at", "device", "procedure"),
    Index("listed_touched", "touched_at"),
)
reports = Table(  # every version of every report: number 1 is the template's draft, the highest number is the report
    "reports",
    metadata,
    *_procedure(),
    Column("revision", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),  # server.report.State
    Column("what", String(16), nullable=False),  # drafted, worded, edited, signed, amended, corrected
    Column("author", _NAME, nullable=False),  # an account, or "" for the machine
    Column("at", _TIME, nullable=False),
    Column("body", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["device", "procedure", "revision"], ["records.device", "records.procedure", "records.revision"]
    ),
)
joined = Table(  # whose procedure it is: the newest number counts
    "joined",
    metadata,
    *_procedure(),
    Column("number", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),  # server.patient.Patient
    Column("words", Text, nullable=False, server_default=""),  # by which it is found: server.listing.words_of
    Column("author", _NAME, nullable=False),
    Column("at", _TIME, nullable=False),
)
questions = Table(
    "questions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("device", _NAME, nullable=False),
    Column("procedure", _NAME, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("account", _NAME, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("questions_of", "device", "procedure", "revision"),
)
attempts = Table(  # how often a durable job was begun; one that takes its worker along must not do so for ever
    "attempts",
    metadata,
    Column("job", String(256), primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("at", _TIME, nullable=False),
)
deliveries = Table(  # a report's version to one of the hospital's systems
    "deliveries",
    metadata,
    *_procedure(),
    Column("revision", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),  # of the report
    Column("target", String(16), primary_key=True),  # pacs, stow, fhir
    Column("state", String(16), nullable=False),  # server.deliveries.State
    Column("patient", Integer, nullable=False, server_default="0"),  # `joined.number` under which it goes; 0 nobody
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("said", Text, nullable=False, server_default=""),  # what came of the last try
    Column("at", _TIME, nullable=False),  # waiting, sending: when it is due; else since when
    Index("deliveries_waiting", "state", "at"),
)
erased = Table(  # tombstones: nothing of these procedures is kept, and nothing of them is taken again
    "erased",
    metadata,
    *_procedure(),
    Column("at", _TIME, nullable=False),
    Column("by", _NAME, nullable=False),
    Column("reason", String(16), nullable=False),  # server.erasure.Reason
    Column("reference", _NAME, nullable=False, server_default=""),  # a file number; nobody's name
)
accounts = Table(
    "accounts",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("full_name", String(128), nullable=False),
    Column("role", String(16), nullable=False),  # viewer, clinician, admin
    Column("password", String(256)),  # argon2id; NULL: by OIDC alone
    Column("issuer", String(256)),  # of OIDC
    Column("subject", String(256)),
    Column("disabled", Boolean, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),  # in a row
    Column("locked_until", _TIME),
    Column("made_at", _TIME, nullable=False),
    Index("accounts_oidc", "issuer", "subject", unique=True),
)
sessions = Table(
    "sessions",
    metadata,
    Column("token", _DIGEST, primary_key=True),  # sha256 of it
    Column("account", _NAME, nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("made_at", _TIME, nullable=False),
    Column("seen_at", _TIME, nullable=False),
    Column("proven_at", _TIME, nullable=False),  # when the person last showed who it is
    Column("ends_at", _TIME, nullable=False),
)
audit = Table(  # each line's `hash` covers the line before
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", _TIME, nullable=False),
    Column("who", _NAME, nullable=False),  # an account, "box:DEVICE", "server", "" before a login
    Column("address", String(64), nullable=False),
    Column("what", String(32), nullable=False),  # "report.read", "report.sign", "login.failed", ...
    Column("device", _NAME, nullable=False, server_default=""),
    Column("procedure", _NAME, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),  # a line of JSON, without a patient's name
    Column("previous", _DIGEST, nullable=False),
    Column("hash", _DIGEST, nullable=False),
    Index("audit_of", "device", "procedure"),
)
