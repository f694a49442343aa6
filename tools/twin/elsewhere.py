"""Where in the guest the parts of a thin release lie."""

from __future__ import annotations

from pathlib import Path

from tools.ota.thin import Elsewhere

CHECKOUT = Path("/opt/endoedge/checkout")
GUEST = Elsewhere(CHECKOUT, "/opt/twin/venv/lib/python3.11/site-packages", "python3.11")
