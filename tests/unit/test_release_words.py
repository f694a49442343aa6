"""tools/release as its command line is read: help, refusals, and the arithmetic that needs nothing but numbers."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UpdateError, UsageError
from edge.update.policy import chosen
from tools.release import COMMANDS, ROOT, delta, environment, fleet, keyring, signers, tree
from tools.release.__main__ import main


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["keys", "new"], ["keys", "rotate"]])
def test_help_is_there(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert "usage: tools/release.sh" in said
    assert max(map(len, said.splitlines())) <= 120


@pytest.mark.parametrize(
    "words",
    [
        ["fleet"],
        ["fleet", "--bundle-bytes", "1", "--share", "2"],
        ["fleet", "--bundle-bytes", "1", "--check-every", "6"],
        ["publish", "x", "--channel", "stable", "--key", "nobody=x"],
        ["keys", "new", "--to", "x", "--hardware", "targets=file"],
        ["stick", "x", "--channel", "stable", "--to", "y", "--days", "0"],
        ["build", "--version", "1", "--hardware", "x", "--to", "y", "--changes", "@none"],
    ],
)
def test_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["keys", "new", "--to", "x", "--root", "2", "--threshold", "3"], "--threshold 3: expected 1 to 2"),
        (["keys", "rotate", "--role", "other", "--keys", "x", "--repository", "y"], "key other: expected root-1"),
        (["keys", "rotate", "--role", "targets", "--keys", "x"], "--repository REPO is needed"),
        (["keys", "rotate", "--role", "targets"], "--keys DIR is needed"),
        (["publish", "x", "--channel", "stable"], "--keys DIR or --key targets=KEY is needed"),
        (["init", "x"], "--keys DIR is needed"),
        (["delta", "x", "y", "--kind", "none"], "--kind none: expected some of zstd"),
    ],
)
def test_exit_code_2_says_what_was_expected(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_daily_job_needs_little(tmp_path: Path) -> None:
    """What a cron machine imports: no numpy, no PyGObject, no cyclonedx."""
    program = "import sys; from tools.release.__main__ import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", program, "refresh", str(tmp_path), "--keys", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "expected key.pem" in done.stderr
    assert not {"numpy", "gi", "cyclonedx", "rich"} & set(done.stdout.split())


# ----------------------------------------------------------------------------------------------------- fleet


def test_shares_that_are_said_are_those_that_boxes_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--boxes", "500", "--bundle-bytes", "1000000", "--share", "0.2", "--share", "1"]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "%" in line]
    reached = [int(row[3]) for row in rows]
    assert reached == [sum(chosen(device, "1.2.0", share) for device in fleet.devices(500)) for share in (0.2, 1.0)]
    assert reached[1] == 500
    assert [int(row[5]) for row in rows] == [reached[0], 500 - reached[0]]


def test_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--bundle-bytes", "100000000", "--share", "1", "--check-bytes", "1000"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "checks a day 40,000" in said
    assert "requests a day 80,000, 0.93 a second" in said
    assert "bytes a day 40 MB" in said
    assert "100% 10,000 100.00% 10,000 1,000 370" in said  # 1,000 GB in six hours are 370 Mbit/s


# ----------------------------------------------------------------------------------------------------- delta


@given(st.integers(0, 400_000), st.integers(0, 3))
def test_chunks_are_the_whole_in_order(length: int, seed: int) -> None:
    content = hashlib.shake_128(bytes([seed])).digest(length)
    ends = [*delta.boundaries(content)]
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == length
    sizes = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    assert all(delta.LEAST <= size <= delta.MOST for size in sizes[:-1])


def test_chunks_follow_what_moves() -> None:
    """Two megabytes, once more with 1,001 bytes before them: almost all chunks are the same."""
    content = os.urandom(2_000_000)
    before, after = ({*pieces(data)} for data in (content, os.urandom(1001) + content))
    assert sum(map(len, after - before)) < 3 * delta.MOST


def pieces(content: bytes) -> list[bytes]:
    return [content[begin:end] for begin, end in itertools.pairwise([0, *delta.boundaries(content)])]


# ----------------------------------------------------------------------------------------- keys and folders


def test_keys_by_name(tmp_path: Path) -> None:
    assert keyring.place(tmp_path, "root-12") == tmp_path / "offline" / "root-12"
    for name in ("root-0", "root-", "root-1/../x", "boxes"):
        with pytest.raises(UsageError, match="expected root-1"):
            keyring.place(tmp_path, name)


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(UpdateError, match=r"key\.pem: no private key"):
        signers.load(tmp_path / "key.pem")
    with pytest.raises(UpdateError, match=r"key\.pem: no p"):
        signers.public(tmp_path / "key.pem")
    with pytest.raises(UpdateError, match="No such file"):
        signers.load(tmp_path / "none")


@pytest.mark.parametrize("curve", [False, True])
def test_keys_sign_and_are_read_again(curve: bool, tmp_path: Path) -> None:
    found = signers.load(keyring.make(tmp_path / "key", curve=curve))
    signature = found.sign(b"content")
    for key in (signers.public(tmp_path / "key/public.pem"), signers.public(tmp_path / "key/key.pem")):
        assert key == found.public_key
        key.verify_signature(signature, b"content")
    with pytest.raises(UpdateError, match="a key is there already"):
        keyring.make(tmp_path / "key")


def test_trees_that_differ_are_told_by_name(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "share").mkdir(parents=True)
        (tmp_path / name / "share" / "same").write_text("x")
        (tmp_path / name / "link").symlink_to(name)
    (tmp_path / "new" / "share" / "more").write_text("x")
    (tmp_path / "new" / "sharedness").write_text("x")
    assert tree.differences(tmp_path / "old", tmp_path / "new") == ["link", "share/more", "sharedness"]
    assert tree.differences(tmp_path / "old", tmp_path / "new", ["share"]) == ["link", "sharedness"]
    assert tree.digest(tmp_path / "old") != tree.digest(tmp_path / "new")


def test_all_that_a_release_needs_is_pinned() -> None:
    """The real constraints, so that a build does not find out after minutes."""
    pinned = environment.pinned(ROOT / "constraints.txt")
    assert {"setuptools", "tuf", "cryptography", "numpy", "securesystemslib", "urllib3"} <= pinned.keys()


LONG = b"#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\n"


@pytest.mark.parametrize("header", [b"#!/tmp/x/venv/bin/python3\n", LONG])
def test_a_script_begins_where_boxes_have_it(header: bytes, tmp_path: Path) -> None:
    script = tmp_path / "endoedge"
    script.write_bytes(header + b"import sys\n")
    environment.first_line(script)
    assert script.read_bytes() == b"#!/opt/endoedge/venv/bin/python\nimport sys\n"
