"""The guest's half: an agent that makes the machine a box and plays scenarios on it."""

from __future__ import annotations

from tools.twin.guest.twin import NotHeldError, Twin
from tools.twin.guest.vivid import Hdmi

__all__ = ["Hdmi", "NotHeldError", "Twin"]
