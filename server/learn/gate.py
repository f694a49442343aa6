"""Does this sentence name somebody, or a day? What the grounding check lets stand (`form.Form.struck`) has no word in
it that is not in the check's tables; here is what such a sentence could still give away.
"""

from __future__ import annotations

import re
from typing import Literal

from server.learn.known import Known

Why = Literal["", "names or numbers that are known", "a date or a time of day"]
"""Why a sentence does not leave; "": it may."""

_DATE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}\s*[./]\s*\d{1,2}\s*[./]\s*\d{2,4}|\b\d{1,2}:\d{2}\b|[\w.+-]+@[\w-]+|https?:|www\."
)


def weighed(text: str, known: Known, machine: bool) -> Why:
    """`machine`: a template's, whose words are ours and which knows the record alone: a patient who is called Good does
    not take the view's quality out of it. What a person said, or a model that sees the pictures, could be a name."""
    if known.numbered(text) if machine else known.named(text):
        return "names or numbers that are known"
    return "a date or a time of day" if _DATE.search(text) else ""
