"""Who may do what: challenge and response, waits after failures, lock-out, and the end of a login.

All waits are on the monotonic clock, which nobody can set. Failures are on the disk before a token is looked at, so
pulling the plug gives no more tries; after a restart of the machine a lock-out begins anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge.clock import Clock
from edge.console import tokens
from edge.console.tokens import Claims, Keys, Right
from edge.durable import write_atomically
from edge.errors import ConsoleError
from edge.types import Struct

CHALLENGE_S = 900  # long enough to phone somebody who can sign
LOCK_AFTER = 5
LOCK_S = 900
SKEW_S = 300  # the signer's clock and ours
_S = 1_000_000_000


class Challenge(NamedTuple):
    nonce: str
    made_ns: int
    until_ns: int


class Login(NamedTuple):
    """Somebody is here."""

    name: str
    rights: tuple[Right, ...]
    key: str  # file of the key that signed
    until_ns: int


class Tries(Struct, frozen=True, kw_only=True):
    """`STATE/logins.json`: failed tries in a row, and until when no other is taken."""

    failures: int = 0
    wait_s: int = 0
    until_ns: int = 0  # CLOCK_MONOTONIC of `boot`
    boot: str = ""


class Gate:
    """Owner: the console's thread."""

    def __init__(self, device: str, keys: Callable[[], Keys], state: Path, clock: Clock, idle_s: int) -> None:
        self._device, self._keys, self._path, self._clock = device, keys, state / "logins.json", clock
        self._idle_ns, self._used_ns = idle_s * _S, 0
        self._challenge: Challenge | None = None
        self._login: Login | None = None
        self._tries = self._remembered()

    # ------------------------------------------------------------------------------------------ who is here

    @property
    def login(self) -> Login | None:
        """None when there is none, or when it has run out."""
        now_ns = self._clock.now_ns()
        if self._login and (now_ns >= self._login.until_ns or now_ns - self._used_ns >= self._idle_ns):
            self._login = None
        return self._login

    @property
    def who(self) -> str:
        """Name and key, for the audit log; "-" for nobody."""
        return f"{self.login.name} ({self.login.key})" if self.login else "-"

    def touch(self) -> None:
        """Somebody typed."""
        if self.login:
            self._used_ns = self._clock.now_ns()

    def end(self) -> None:
        self._login = None

    def require(self, right: Right) -> None:
        """Raises ConsoleError."""
        if self.login is None:
            raise ConsoleError("log in first: `login`")
        if right not in self.login.rights:
            raise ConsoleError(f"your token does not give the right `{right}`")

    # ------------------------------------------------------------------------------------------ coming in

    def challenge(self) -> Challenge:
        """The open one, or a new one: a line of noise may not spoil the nonce that somebody is having signed. Raises
        ConsoleError when no answer could be taken anyway."""
        self._check_wait()
        self._keys()
        now_ns = self._clock.now_ns()
        if self._challenge is None or now_ns >= self._challenge.until_ns:
            self._challenge = Challenge(secrets.token_hex(16), now_ns, now_ns + CHALLENGE_S * _S)
        return self._challenge

    def admit(self, token: str) -> Login:
        """Raises ConsoleError, saying why not. A nonce is good for one login; a try costs a wait when it fails."""
        self._check_wait()
        challenge, now_ns = self._challenge, self._clock.now_ns()
        if challenge is None or now_ns >= challenge.until_ns:
            raise ConsoleError("no challenge is open: type `login` and have its nonce signed")
        keys = self._keys()
        before = self._tries
        self._remember(self._failed(before.failures + 1))
        claims, key = tokens.verified(token, keys)
        until_ns = self._end_of(claims, challenge)
        self._remember(Tries())
        self._challenge = None
        self._login, self._used_ns = Login(claims.name, claims.rights, key, until_ns), now_ns
        return self._login

    def _end_of(self, claims: Claims, challenge: Challenge) -> int:
        """When this login ends at the latest, on the monotonic clock. Raises ConsoleError.

        A token cannot have been signed before its nonce was made, so it is over at the latest when its lifetime has
        passed since then: true on a box that has no idea what year it is. A clock that can be believed is asked too.
        """
        if claims.device != self._device:
            raise ConsoleError(f"it is for device {claims.device}, this is {self._device}")
        if not secrets.compare_digest(claims.nonce.encode(), challenge.nonce.encode()):
            raise ConsoleError("it answers another challenge")
        lifetime_s = claims.not_after - claims.issued
        if not 0 < lifetime_s <= tokens.LIFETIME_S:
            raise ConsoleError(f"its lifetime is {lifetime_s} s, expected 1 to {tokens.LIFETIME_S}")
        now_ns, wall = self._clock.now_ns(), self._clock.wall()
        until_ns = challenge.made_ns + lifetime_s * _S
        if wall.trusted:
            if wall.at_s < claims.issued - SKEW_S:
                raise ConsoleError("it was signed in the future: the signer's clock is wrong")
            until_ns = min(until_ns, now_ns + int((claims.not_after - wall.at_s) * _S))
        if now_ns >= until_ns:
            raise ConsoleError("it has expired")
        return until_ns

    # ------------------------------------------------------------------------------------------ failures

    def _check_wait(self) -> None:
        left_s = -((self._clock.now_ns() - self._tries.until_ns) // _S)
        if left_s > 0:
            why = "locked after too many failures" if self._tries.wait_s == LOCK_S else "the last try failed"
            raise ConsoleError(f"{why}: try again in {left_s} s")

    def _failed(self, failures: int) -> Tries:
        locked = failures >= LOCK_AFTER
        wait_s = LOCK_S if locked else 2 ** (failures - 1)
        return Tries(
            failures=0 if locked else failures,
            wait_s=wait_s,
            until_ns=self._clock.now_ns() + wait_s * _S,
            boot=self._clock.boot,
        )

    def _remember(self, tries: Tries) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            write_atomically(self._path, msgspec.json.encode(tries))
        except OSError as exc:
            raise ConsoleError(f"{self._path}: cannot be written ({exc.strerror}), so nobody can log in") from exc
        self._tries = tries

    def _remembered(self) -> Tries:
        """A wait of another boot begins anew, and a file that cannot be understood is a lock-out: whoever spoilt it
        gains nothing."""
        try:
            tries = msgspec.json.decode(self._path.read_bytes(), type=Tries)
        except FileNotFoundError:
            return Tries()
        except (OSError, msgspec.DecodeError):
            return self._failed(LOCK_AFTER)
        if tries.boot == self._clock.boot:
            return tries
        return msgspec.structs.replace(tries, boot=self._clock.boot, until_ns=self._clock.now_ns() + tries.wait_s * _S)
