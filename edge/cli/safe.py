"""The safe state: the core broke again and again, so it is left alone for a while, and the box says why.

It is `endoedge run safe`, kept by systemd (`endoedge-safe.service`): started when the core's start limit is reached,
and the core is started again when its rest is over. It has neither camera nor model nor network; what it says in
`RUN_DIR/safe.json` is passed on by uplink and console, which do not depend on the core.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from edge import clock, status
from edge.cli.site import read_site
from edge.errors import ConfigError
from edge.status import EVERY_NS, SafeStatus
from edge.systemd import Notifier

log = logging.getLogger(__name__)

AGAIN = 75  # EX_TEMPFAIL: what the unit's OnFailure= is for
WORDS, END = "core.words", "core.end"  # in RUN_DIR: what the core said last, what systemd says of its end
# systemd.exec(5), $SERVICE_RESULT; `{}` is $EXIT_STATUS.
ENDS = {
    "success": "it ended by itself",
    "exit-code": "it ended with code {}",
    "signal": "it was killed (SIG{})",
    "core-dump": "it crashed (SIG{})",
    "watchdog": "it hung",
    "oom-kill": "it took more memory than it may",
    "timeout": "it did not become ready, or did not stop, in time",
    "resources": "the system could not start it",
}


@contextlib.contextmanager
def last_words(run_dir: Path, unsaid: Collection[str] = ()) -> Iterator[None]:
    """What the core breaks with is kept for the safe state to say, and so leaves the box: `unsaid` is left out."""
    (run_dir / WORDS).unlink(missing_ok=True)
    try:
        yield
    except Exception as exc:
        words = str(exc) or type(exc).__name__
        for name in sorted(unsaid, key=len, reverse=True):
            words = words.replace(name, "...")
        keep_words(run_dir, words)
        raise


def keep_words(run_dir: Path, words: str) -> None:
    with contextlib.suppress(OSError):
        (run_dir / WORDS).write_text(words, encoding="utf-8")


def serve(options: argparse.Namespace, stop: threading.Event) -> int:
    return run(options.config, options.rest, stop)


def run(file: Path, rest_s: float, stop: threading.Event) -> int:
    """Keep the safe state: AGAIN after `rest_s`, 0 at `stop`. Works without a configuration that can be read."""
    run_dir, broken = _run_dir(file)
    reason = f"the core is not started: {broken or why(run_dir)}"
    path = run_dir / "safe.json"
    log.error("safe state: %s; tried again in %.0f s", reason, rest_s)
    (run_dir / "status.json").unlink(missing_ok=True)  # what the core said of itself is so no more
    notifier, since_ns = Notifier(), time.monotonic_ns()
    until_ns = since_ns + round(rest_s * 1e9)
    try:
        while (now_ns := time.monotonic_ns()) < until_ns and not stop.is_set():
            status.write(path, SafeStatus(reason=reason, since_ns=since_ns, until_ns=until_ns, updated_ns=now_ns))
            notifier.say("READY=1", "WATCHDOG=1", f"STATUS={reason}; tried again in {(until_ns - now_ns) / 1e9:.0f} s")
            clock.wait(stop, min(EVERY_NS, until_ns - now_ns) / 1e9)
    finally:
        path.unlink(missing_ok=True)
        notifier.close()
    return 0 if stop.is_set() else AGAIN


def why(run_dir: Path) -> str:
    """From what is left of the core's last run."""
    end, words = _text(run_dir / END).split(), _text(run_dir / WORDS)
    said = ""
    if len(end) == 3:
        result, _, exit_status = end
        said = ENDS.get(result, f"systemd says {result}").format(exit_status)
    return ": ".join(filter(None, (said, words))) or "it ended again and again"


def bad_end(run_dir: Path, after_ns: int) -> str:
    """How the core's last run ended, when that was not as it should and later than `after_ns` (a file's time); "" for a
    good end, or none."""
    end = _text(run_dir / END).split()
    if not end or end[0] == "success" or (run_dir / END).stat().st_mtime_ns <= after_ns:
        return ""
    return why(run_dir)


def _run_dir(file: Path) -> tuple[Path, str]:
    """And what is wrong with the configuration."""
    try:
        return read_site(file).run_dir, ""
    except ConfigError as exc:
        return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/endoedge")), str(exc)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
