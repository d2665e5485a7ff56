"""How long work says how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many are expected)."""


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Tell]:
    """A bar for each kind of work while it goes on; gone when it ends, and absent from logs."""
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn())
    bar = (*columns, TimeElapsedColumn())
    unseen = not console.is_terminal
    with Progress(*bar, console=console, transient=True, disable=unseen) as bars:
        tasks = {}

        def tell(claim: str, done: int, expected: int) -> None:
            if claim not in tasks:
                tasks[claim] = bars.add_task(claim, total=expected)
            bars.update(tasks[claim], completed=done, total=max(done, expected))

        yield tell
