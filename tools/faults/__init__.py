"""Faults: what happens to a box, done to the real code on purpose, again and again. `tools/faults.sh`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
