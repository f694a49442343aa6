"""EndoEdge: the service that sits beside an endoscopy tower. Start reading at `core.py`."""

import os

__version__ = "0.1.0"

# ONNX Runtime (1.31, and on Linux) keeps a database of what it is used for and sends it to its maker, unless it finds
# this before it is imported. Nothing leaves a hospital unasked.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
