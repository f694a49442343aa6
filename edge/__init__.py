"""EndoEdge: the service that sits beside an endoscopy tower. Start reading at `core.py`."""

__version__ = "0.1.0"
