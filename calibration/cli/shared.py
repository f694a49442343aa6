"""What the commands share: the console and the progress bars."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()


def progress_bars(on: Console = console) -> Progress:
    """Gone when done; silent where nobody watches. `on` stderr where stdout is for machines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=on, transient=True, disable=not on.is_terminal)
