"""What is done stays done, also when the power goes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

BEGUN = ".new-"  # NUMBER-...: what the process of that number writes


def sync_folder(folder: Path) -> None:
    """The names in it (made, renamed, removed) are on the disk when this returns. Raises OSError."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_atomically(path: Path, content: bytes) -> None:
    """The whole content under that name, on the disk, or what was there before. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{BEGUN}{os.getpid()}-")
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def abandoned(begun: Path) -> bool:
    """Whoever began to write that file is gone. By the process and not by the file's date: clocks are set."""
    number = begun.name.removeprefix(BEGUN).partition("-")[0]
    try:
        os.kill(int(number), 0)
    except PermissionError:  # somebody else's, and it lives
        return False
    except (ValueError, OverflowError, ProcessLookupError):
        return True
    return False
