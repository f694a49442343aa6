"""kill -9 of the real core and the real uplink, at random, while a clip plays: every committed event arrives once."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from edge.cli import assemble, processes
from edge.messages import Message
from edge.outbox import OutboxReader
from edge.uplink.consumer import Consumer
from tests.support.broker import Broker, missing_tools
from tests.support.busy import site, works

KILLS = int(os.environ.get("ENDOEDGE_KILLS", "6"))  # of each process
SEED = int(os.environ.get("ENDOEDGE_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
STARTS_WITHIN_S = 30
LIVES_S = (0.0, 2.0)  # how long a process is left alone once it works; one in three dies while it starts

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())


def torment(part: str, file: Path, status_file: Path, dice: random.Random, log: Path) -> None:
    """Start, let live, kill -9, again."""
    for number in range(KILLS):
        process = processes.start(part, file, log)
        deadline = time.monotonic() + (dice.uniform(0, 1) if number % 3 == 2 else STARTS_WITHIN_S)
        while not works(process.pid, status_file) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(dice.uniform(*LIVES_S))
        assert process.poll() is None, log.read_text()
        process.kill()
        process.wait()


@pytest.mark.timeout(120 + 20 * KILLS)
def test_every_committed_event_arrives(tmp_path: Path) -> None:
    print(f"seed {SEED}, {KILLS} kills of each")
    got: list[Message] = []
    repeats = 0

    def receive(message: Message, received_ns: int, duplicate: bool) -> None:
        nonlocal repeats
        repeats += duplicate
        if not duplicate:
            got.append(message)

    with Broker(tmp_path) as broker:
        file = site(tmp_path, broker.port)
        loaded = assemble.load_site(file)
        assemble.make_run_dir(loaded)
        stop, ready = threading.Event(), threading.Event()
        consumer = Consumer(loaded.uplink, receive, client_id="test")
        listener = threading.Thread(target=consumer.run, args=(stop, ready))
        listener.start()
        assert ready.wait(10)
        log = tmp_path / "log"
        dice = random.Random(SEED)
        threads = [
            threading.Thread(target=torment, args=(part, file, status, random.Random(dice.random()), log))
            for part, status in (("core", loaded.status_path), ("uplink", loaded.uplink_status_path))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reader = OutboxReader.open(loaded.outbox_path)
        with processes.running("uplink", file, log):
            deadline = time.monotonic() + 30
            while reader.depth() and time.monotonic() < deadline:
                time.sleep(0.05)
        left = reader.depth()
        reader.close()
        stop.set()
        listener.join()
    seqs = [message.seq for message in got]
    print(f"{len(seqs)} events, {repeats} repeated")
    assert left == 0
    assert len(seqs) > KILLS / 2, "too little happened to prove anything"
    assert len({message.id for message in got}) == len(got)
    assert sorted(seqs) == list(range(1, max(seqs) + 1))  # a seq is spent by a commit only: a gap would be a loss
