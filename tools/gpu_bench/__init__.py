"""What an x86 machine with an NVIDIA GPU can prove and measure: `tools/gpu_bench.sh`, or `python -m tools.gpu_bench`.

Each measurement runs in a process of its own (`children/`), so that a driver that crashes costs one figure; several
streams are as many processes, as they would be boxes.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
