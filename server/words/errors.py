"""This boundary's error."""

from __future__ import annotations

from edge.errors import EdgeError


class WordsError(EdgeError):
    """A language without words, a list or a lexicon that cannot be read, a report of another record."""
