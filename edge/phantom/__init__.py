"""A software colon: pictures that move like a colonoscopy, with exact ground truth."""

from edge.phantom.pictures import training_pictures

__all__ = ["training_pictures"]
