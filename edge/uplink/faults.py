"""What can be wrong between us and the broker, as data: each row says what to tell people and whether waiting helps.

`permanent` faults look as if a person must act. They are still retried, slowly, because people do act.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence

from edge.types import Struct


class Fault(Struct, frozen=True, kw_only=True):
    """One line for people."""

    text: str
    permanent: bool = False


# MQTT 5 reason codes of CONNACK and DISCONNECT: what to do. Codes not listed are transient.
_REASONS: dict[int, str] = {
    0x81: "it calls our packets malformed: is it an MQTT broker?",
    0x82: "it reports a protocol error: is it an MQTT 5 broker?",
    0x84: "it does not speak MQTT 5: use a broker that does",
    0x85: "it does not accept our client id: correct uplink.client_id",
    0x86: "it refuses our user name or password: correct uplink.username or the password file",
    0x87: "it refuses us (not authorised): register this box's user name or certificate with the broker",
    0x8A: "it has banned this client: ask its administrator",
    0x8C: "it wants another way to log in than password or certificate",
    0x8E: "another client connected with our client id: every box needs its own",
    0x90: "it does not accept our topics: correct uplink.topic_prefix or the broker's rules",
    0x95: "a message is larger than it accepts: raise its packet limit",
    0x9A: "it does not offer retained messages, which our state needs: enable them",
    0x9B: "it does not offer QoS 1, which delivery needs: use a broker that does",
    0x9C: "it wants us to use another server: correct uplink.host",
    0x9D: "it has moved for good: correct uplink.host",
}

# OpenSSL's X509_V_ERR_* for the *broker's* certificate.
_VERIFY: dict[int, str] = {
    9: "its certificate is not valid yet: correct this box's clock",
    10: "its certificate has expired: renew it, or correct this box's clock",
    18: "its certificate is self-signed and not in {ca}: put the right CA there",
    19: "its certificate was not signed by the CA in {ca}: put the right CA there",
    20: "its certificate was not signed by the CA in {ca}: put the right CA there",
    21: "its certificate was not signed by the CA in {ca}: put the right CA there",
    62: "its certificate is for another host name: correct uplink.host, or the certificate",
    64: "its certificate is for another address: correct uplink.host, or the certificate",
}

# TLS alerts in which the broker says what it thinks of *our* certificate, and other words of OpenSSL.
_TLS_WORDS: tuple[tuple[str, str], ...] = (
    ("certificate expired", "it says that our certificate {cert} has expired: renew it"),
    ("certificate revoked", "it says that our certificate {cert} was revoked: get a new one"),
    ("unknown ca", "it does not know the CA that signed our certificate {cert}: give it that CA"),
    ("certificate required", "it wants a client certificate: set uplink.tls.cert and uplink.tls.key"),
    ("bad certificate", "it does not accept our certificate {cert}"),
    ("unsupported certificate", "it does not accept our certificate {cert}: is it meant for clients?"),
    ("certificate unknown", "it does not accept our certificate {cert}"),
    ("handshake failure", "no common TLS version or cipher, or it wants a client certificate ({cert})"),
    ("protocol version", "no common TLS version: we need TLS 1.2 or later"),
    ("wrong version number", "this port does not speak TLS: correct uplink.port"),
    ("record layer failure", "this port does not speak TLS: correct uplink.port"),
)


_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class Broker(Struct, frozen=True, kw_only=True):
    """The names a fault line needs."""

    host: str
    port: int
    ca: str = ""
    cert: str = ""

    def fault(self, text: str, *, permanent: bool = False) -> Fault:
        text = text.replace("{ca}", self.ca or "(no ca)").replace("{cert}", self.cert or "(none sent)")
        return Fault(text=f"broker {self.host}:{self.port}: {text}", permanent=permanent)

    def refused(self, code: int, name: str) -> Fault:
        """CONNACK or DISCONNECT with a failure code; `name` is the specification's name for it."""
        advice = _REASONS.get(code)
        return self.fault(f"{advice or name} (0x{code:02X})", permanent=advice is not None)

    def silent(self) -> Fault:
        return self.fault("connected, but silent: it hangs, or the network swallows packets")

    def flapping(self) -> Fault:
        """Accepted and dropped, several times in a row, without a reason."""
        text = "it accepts us and drops us, again and again: does another client use our client id, "
        return self.fault(text + "or do its access rules forbid our topics?", permanent=True)

    def unreachable(self, exc: Exception) -> Fault:
        """Connecting raised."""
        if isinstance(exc, ssl.SSLCertVerificationError):
            text = _VERIFY.get(exc.verify_code, f"its certificate is not valid: {exc.verify_message}")
            return self.fault(text, permanent=True)
        if isinstance(exc, ssl.SSLEOFError):
            return self.unreachable(ConnectionResetError())
        if isinstance(exc, ssl.SSLError):
            return self._tls_fault(str(exc)) or self.fault(f"TLS: {exc}")
        if isinstance(exc, socket.gaierror | UnicodeError):
            return self.fault("its name cannot be resolved: correct uplink.host, or the network's DNS")
        if isinstance(exc, ConnectionRefusedError):
            return self.fault("nothing listens there: is the broker running, is uplink.port right?")
        if isinstance(exc, TimeoutError):
            return self.fault("no answer: is it reachable from this network?")
        if isinstance(exc, ConnectionResetError):
            return self.fault("it hung up during the TLS handshake: does uplink.port speak TLS?")
        if isinstance(exc, OSError) and exc.errno in _NO_WAY:
            return self.fault("there is no way there: is the network cable in, is the network set up?")
        return self.fault(str(exc))

    def ended(self, errors: Sequence[str], *, accepted: bool) -> Fault:
        """A connection that was open ended with these error texts (none: it was just closed); `accepted`: after its
        CONNACK."""
        for error in errors:
            if fault := self._tls_fault(error):
                return fault
        detail = f" ({errors[0]})" if errors else ""
        if accepted:
            return self.fault(f"connection lost{detail}")
        return self.fault(
            f"hung up before it answered{detail}: is it an MQTT broker, does it want a client certificate?"
        )

    def _tls_fault(self, error: str) -> Fault | None:
        plain = error.lower().replace("_", " ")
        return next((self.fault(text, permanent=True) for words, text in _TLS_WORDS if words in plain), None)
