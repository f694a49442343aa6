"""How a model is made and proven: datasets, student, training, export, quantisation, evaluation, release."""
