"""A software colon: pictures that move like a colonoscopy, with exact ground truth for every frame.

`render` and `frame` draw a `Script`; `ensure_clip` keeps it as a video with truth beside it; `training_pictures` are
single pictures with masks. Our own work throughout: no picture of a patient went into it.
"""

from edge.phantom.clip import Clip, ensure_clip, read_truth, write_clip
from edge.phantom.film import frame, render
from edge.phantom.pictures import training_distances, training_pictures
from edge.phantom.script import VERSION, Header, PolypTruth, Script, Truth

__all__ = [
    "VERSION",
    "Clip",
    "Header",
    "PolypTruth",
    "Script",
    "Truth",
    "ensure_clip",
    "frame",
    "read_truth",
    "render",
    "training_distances",
    "training_pictures",
    "write_clip",
]
