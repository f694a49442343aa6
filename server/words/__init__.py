"""What a report says: the template's words, a model's words, and the check of both. Pure, but for `endpoint.py`."""
