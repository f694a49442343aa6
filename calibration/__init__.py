"""How a model is made and proven: datasets, student, training, export, quantisation, evaluation, release."""

import edge  # noqa: F401  (before anything imports ONNX Runtime: see there)
