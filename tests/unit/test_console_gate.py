"""Logins: what a token must be, what a failure costs, and when it is over. The signatures are real."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.console import tokens
from edge.console.gate import CHALLENGE_S, LOCK_AFTER, LOCK_S, Gate
from edge.errors import ConsoleError
from tests.support.console import ALL, BOOT, DEVICE, NOW, HandClock, make_keys, signed
from tools import service_token


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_keys(tmp_path)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def gate(folder: Path, clock: HandClock) -> Gate:
    return Gate(DEVICE, lambda: tokens.load_keys(folder / "keys"), folder / "state", clock, 600)


def test_a_token_opens_it_once(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    token = signed(key, ours.challenge().nonce)
    assert ours.admit(token).name == "A. Engineer"
    assert (ours.who, ours.login is not None) == ("A. Engineer (service.pem)", True)
    for right in ALL:
        ours.require(right)
    ours.end()
    with pytest.raises(ConsoleError, match="no challenge is open"):
        ours.admit(token)
    ours.challenge()
    with pytest.raises(ConsoleError, match="answers another challenge"):
        ours.admit(token)
    with pytest.raises(ConsoleError, match="log in first"):
        ours.require("diagnose")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"device": "theatre-4"}, "it is for device theatre-4"),
        ({"nonce": "0" * 32}, "another challenge"),
        ({"not_after": NOW - 1, "issued": NOW - 3600}, "expired"),
        ({"issued": NOW + 3000, "not_after": NOW + 6000}, "signed in the future"),
        ({"not_after": NOW + 30 * 86_400}, "its lifetime is"),
        ({"not_after": NOW - 7200}, "its lifetime is"),
    ],
)
def test_a_token_that_is_not_for_here_and_now(
    tmp_path: Path, key: Path, clock: HandClock, other: dict[str, object], says: str
) -> None:
    ours = gate(tmp_path, clock)
    nonce = ours.challenge().nonce
    with pytest.raises(ConsoleError, match=says):
        ours.admit(signed(key, str(other.get("nonce", nonce)), **{k: v for k, v in other.items() if k != "nonce"}))
    assert ours.login is None


def test_only_the_rights_it_says(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    ours.admit(signed(key, ours.challenge().nonce, rights=("diagnose",)))
    ours.require("diagnose")
    with pytest.raises(ConsoleError, match="the right `restart`"):
        ours.require("restart")


def test_every_changed_character_is_refused(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    token = signed(key, ours.challenge().nonce)
    keys = tokens.load_keys(tmp_path / "keys")
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "Q") + token[at + 1 :]
        with pytest.raises(ConsoleError):
            tokens.verified(changed, keys)
    tokens.verified(token, keys)


@pytest.mark.parametrize(
    "nonsense", ["", ".", "EET1..", "EET1.e30.AA", "EET1.é.é", "EET1." + "A" * 5000, "EET2.e30.e30"]
)
def test_nonsense_is_refused(tmp_path: Path, key: Path, nonsense: str) -> None:
    with pytest.raises(ConsoleError):
        tokens.verified(nonsense, tokens.load_keys(tmp_path / "keys"))


def test_another_key_and_a_second_key(tmp_path: Path, key: Path, clock: HandClock) -> None:
    """Keys are read at each login: one can be put in or taken out while the console runs."""
    ours = gate(tmp_path, clock)
    (tmp_path / "elsewhere").mkdir()
    foreign = make_keys(tmp_path / "elsewhere", "foreign")
    token = signed(foreign, ours.challenge().nonce)
    with pytest.raises(ConsoleError, match="no key that this box knows"):
        ours.admit(token)
    (tmp_path / "keys" / "second.pem").write_bytes((tmp_path / "elsewhere" / "keys" / "foreign.pem").read_bytes())
    clock.pass_s(2)
    assert ours.admit(token).key == "second.pem"


def test_keys_that_are_none_are_named(tmp_path: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    with pytest.raises(ConsoleError, match="holds no service key"):
        ours.challenge()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(ConsoleError, match=r"bad\.pem: expected an Ed25519 public key"):
        ours.challenge()


def test_waits_double_and_the_fifth_failure_locks(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    nonce = ours.challenge().nonce
    for failure in range(1, LOCK_AFTER):
        with pytest.raises(ConsoleError, match="no service token"):
            ours.admit("guess")
        with pytest.raises(ConsoleError, match=rf"try again in {2 ** (failure - 1)} s"):
            ours.admit(signed(key, nonce))
        clock.pass_s(2 ** (failure - 1))
    with pytest.raises(ConsoleError, match="no service token"):
        ours.admit("guess")
    with pytest.raises(ConsoleError, match=f"locked after too many failures: try again in {LOCK_S} s"):
        ours.admit(signed(key, nonce))
    with pytest.raises(ConsoleError, match="locked"):
        ours.challenge()
    clock.pass_s(LOCK_S)
    assert ours.admit(signed(key, ours.challenge().nonce, not_after=NOW + 7200))


def test_a_restart_of_the_console_or_the_machine_unlocks_nothing(tmp_path: Path, key: Path) -> None:
    clock = HandClock()
    ours = gate(tmp_path, clock)
    ours.challenge()
    for _ in range(LOCK_AFTER):
        with pytest.raises(ConsoleError):
            ours.admit("guess")
        clock.pass_s(16)
    clock.pass_s(100)
    with pytest.raises(ConsoleError, match=f"try again in {LOCK_S - 116} s"):
        gate(tmp_path, clock).challenge()  # the console was restarted
    rebooted = HandClock(boot=BOOT.replace("0", "1"))
    with pytest.raises(ConsoleError, match=f"try again in {LOCK_S} s"):
        gate(tmp_path, rebooted).challenge()  # the machine was: nobody knows how long that took


def test_the_failure_is_on_the_disk_before_the_token_is_looked_at(tmp_path: Path, key: Path, clock: HandClock) -> None:
    """Pulling the plug while a guess is checked gives no free guess."""
    looked_at: list[bytes] = []

    def keys() -> tokens.Keys:
        found = dict(tokens.load_keys(tmp_path / "keys"))

        class Spy:
            def verify(self, signature: bytes, data: bytes) -> None:
                looked_at.append((tmp_path / "state" / "logins.json").read_bytes())
                found["service.pem"].verify(signature, data)

        return {"service.pem": Spy()}  # type: ignore[dict-item]

    ours = Gate(DEVICE, keys, tmp_path / "state", clock, 600)
    ours.admit(signed(key, ours.challenge().nonce))
    assert [b'"failures":1' in content for content in looked_at] == [True]


def test_a_spoilt_memory_of_failures_is_a_lock_out(tmp_path: Path, key: Path, clock: HandClock) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "logins.json").write_text("{")
    with pytest.raises(ConsoleError, match="locked"):
        gate(tmp_path, clock).challenge()


def test_where_failures_cannot_be_remembered_nobody_logs_in(tmp_path: Path, key: Path, clock: HandClock) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    ours = gate(tmp_path, clock)
    with pytest.raises(ConsoleError, match="locked"):
        ours.admit(signed(key, ours.challenge().nonce))
    assert ours.login is None


def test_a_box_that_believes_in_1970_logs_in_and_the_login_still_ends(tmp_path: Path, key: Path) -> None:
    """No battery, no time server: the nonce is what is fresh, and the lifetime runs on the monotonic clock."""
    clock = HandClock(wall_s=12.0, trusted=False)
    ours = gate(tmp_path, clock)
    nonce = ours.challenge().nonce
    clock.pass_s(100)
    ours.admit(signed(key, nonce, not_after=NOW + 400))
    clock.pass_s(299)
    assert ours.login is not None
    clock.set_wall(NOW + 10**9, trusted=True)
    assert ours.login is not None  # whatever the wall clock does now
    clock.pass_s(2)
    assert ours.login is None


def test_a_token_that_is_used_too_late_is_refused_without_any_wall_clock(tmp_path: Path, key: Path) -> None:
    clock = HandClock(wall_s=12.0, trusted=False)
    ours = gate(tmp_path, clock)
    token = signed(key, ours.challenge().nonce, not_after=NOW + 60)
    clock.pass_s(61)
    with pytest.raises(ConsoleError, match="expired"):
        ours.admit(token)


def test_a_challenge_lasts_and_is_not_spoilt_by_asking_again(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    first = ours.challenge().nonce
    assert ours.challenge().nonce == first
    clock.pass_s(CHALLENGE_S)
    with pytest.raises(ConsoleError, match="no challenge is open"):
        ours.admit(signed(key, first))
    assert ours.challenge().nonce != first


def test_an_idle_login_ends_and_a_used_one_does_not(tmp_path: Path, key: Path, clock: HandClock) -> None:
    ours = gate(tmp_path, clock)
    ours.admit(signed(key, ours.challenge().nonce))
    for _ in range(3):
        clock.pass_s(599)
        ours.touch()
    assert ours.login is not None
    clock.pass_s(600)
    assert ours.login is None
    ours.touch()
    assert ours.login is None


def test_the_signing_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(service_token.PASSPHRASE, "correct horse")
    assert service_token.main(["keys", str(tmp_path / "team")]) == 0
    assert (tmp_path / "team.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "keys").mkdir()
    (tmp_path / "team.pem").rename(tmp_path / "keys" / "team.pem")
    capsys.readouterr()
    sign = ["sign", "--key", str(tmp_path / "team.key"), "--name", "B. Engineer", "--device", DEVICE, "--nonce"]
    assert service_token.main([*sign, "AB" * 16, "--rights", "diagnose"]) == 0
    claims, key = tokens.verified(capsys.readouterr().out.strip(), tokens.load_keys(tmp_path / "keys"))
    assert (claims.name, claims.nonce, claims.rights, key) == ("B. Engineer", "ab" * 16, ("diagnose",), "team.pem")
    assert service_token.main(["keys", str(tmp_path / "team")]) == 1  # never written over
    monkeypatch.setenv(service_token.PASSPHRASE, "wrong")
    assert service_token.main([*sign, "ab" * 16]) == 1
    assert "service_token: " in capsys.readouterr().err
