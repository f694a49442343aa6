"""Libraries in C, compiled where the tests run. Without a compiler the test is skipped, which says so."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def compiler() -> str:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc to compile with")
    return gcc


def shared(library: Path, source: Path) -> Path:
    """Compile `source` as `library`, and nothing in it may be warned of."""
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler(), *flags, "-o", library, source, "-ldl"], check=True, timeout=60)
    return library


def is_loaded(name: str) -> bool:
    """This process has a library of that name already: a fake would never be asked."""
    try:
        ctypes.CDLL(name, os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return True
