"""A hostile line: whatever comes in, the console lives, lets nobody in, and is back at the prompt."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import audit, status
from edge.console import smp
from edge.console.commands import COMMANDS
from edge.console.shell import OUT_MOST
from tests.support.console import Person, Wire, console, make_keys, script

RANDOM_BYTES = 1_000_000
ENDLESS_BYTES = 4_000_000
GROWTH_BYTES = 8 << 20

WORDS = [name.encode() for name in COMMANDS] + [
    b"now",
    b"core",
    b"5",
    b"EET1.e30.AAAA",
    b"$(reboot)",
    b";",
    b"../../etc",
]
PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b" ", b"\x03", b"\x15", b"\x7f", b"\x1b[A", b"\x06\x09", b"\x04\x14", b"\0"]
    ),
    st.binary(max_size=40),
    st.builds(smp.lines, st.binary(min_size=8, max_size=200)),
    st.integers(1, 40).map(lambda count: b"x" * count * 40),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(PIECES, max_size=12).map(b"".join), max_size=25), st.booleans())
def test_any_mixture_of_words_and_noise(chunks: list[bytes], pauses: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_keys(folder)
        asked = script(folder / "program", "touch $0.asked")
        person = Person(folder, journalctl=asked, check=asked, ip=("true",))
        for chunk in chunks:
            person.shell.feed(chunk)
            person.waits()
            person.clock.pass_s(1.5 if pauses else 0.001)
            assert len(person.shell.out) < 2 * OUT_MOST
            assert person.desk.gate.login is None
        assert not (folder / "program.asked").exists()
        assert not list((folder / "asked").glob("*"))
        back_at_the_prompt(person)
        audit.verify(folder / "state")


def back_at_the_prompt(person: Person) -> None:
    """A calm second, a key that ends what may be going on, Enter."""
    person.clock.pass_s(1)
    person.types(b"\x03\r")
    person.types(b"\r")
    assert "device" in person.asks("status")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, int, Path]]:
    """One console for all of them: it has to live through everything."""
    folder = tmp_path_factory.mktemp("console")
    (folder / "bin").mkdir()
    for program in ("systemctl", "journalctl"):
        script(folder / "bin" / program, f"touch {folder}/asked")
    make_keys(folder)
    with console(folder) as (wire, process):
        wire.prompt()
        yield wire, process.pid, folder
        assert process.poll() is None
    audit.verify(folder / "state" / "tty")


@pytest.fixture
def line(running: tuple[Wire, int, Path]) -> Iterator[tuple[Wire, int]]:
    """And after each, it is back at the prompt, and nobody was let in."""
    wire, pid, folder = running
    yield wire, pid
    wire.write(b"\x03")
    wire.prompt()
    assert "wall clock" in wire.ask("time")
    assert "refused: log in first" in wire.ask("reboot now")
    assert not (folder / "asked").exists()
    assert "Traceback" not in (folder / "console.log").read_text()


def test_a_million_random_bytes(line: tuple[Wire, int]) -> None:
    """Bytes of all values, with words that mean something strewn in."""
    wire, pid = line
    seed = int(os.environ.get("ENDOEDGE_SEED", random.SystemRandom().randrange(2**32)))
    print(f"ENDOEDGE_SEED={seed}")
    chance = random.Random(seed)
    sent = 0
    before = status.rss_bytes(pid)
    while sent < RANDOM_BYTES:
        piece = chance.randbytes(chance.randrange(1, 3000)) + chance.choice(WORDS) + chance.choice((b"\r", b"", b"\n"))
        wire.write(piece)
        sent += len(piece)
    assert status.rss_bytes(pid) - before < GROWTH_BYTES


def test_four_megabytes_without_an_end_of_line(line: tuple[Wire, int]) -> None:
    wire, pid = line
    before = status.rss_bytes(pid)
    for _ in range(ENDLESS_BYTES // 4000):
        wire.write(b"A" * 4000)
    assert status.rss_bytes(pid) - before < GROWTH_BYTES


@pytest.mark.parametrize(
    "noise",
    [
        b"\0" * 300,
        b"\xff\xfe\xc3\x28" * 75,
        b"[   12.345678] tegra-xusb 3610000.xhci: entering ELPG\r\n" * 200,
        b"reboot no",
        b"\x06\x09" + b"A" * 5000,
        b"\x1b[" + b"0;" * 3000,
        b"login\r" * 50 + b"login EET1.e30.AAAA\r" * 50,
        b"watch\r",
    ],
    ids=[
        "breaks",
        "no UTF-8",
        "a kernel's messages",
        "half a line",
        "a frame without an end",
        "an escape",
        "guesses",
        "watch",
    ],
)
def test_and_then_the_prompt(line: tuple[Wire, int], noise: bytes) -> None:
    wire, _ = line
    wire.write(noise)
