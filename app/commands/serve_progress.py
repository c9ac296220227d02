"""What a person sees of a service that starts: one line for each model, and nothing else.

On a terminal the lines change in place; elsewhere there is a plain line at each change.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.commands.serve_probe import Look, ModelState
from app.commands.state_colours import colour_of
from app.upstream.registry import FAILED

Clock = Callable[[], float]


class Progress(Protocol):
    """Shows one look at a service after another, and in the end which state the models have."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """The lines of those that settled stay; after an error, all as they were."""
        ...

    def show(self, look: Look) -> None: ...


class Times:
    """How long the start takes, and how long it took until a model was up or had failed."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seen: dict[str, tuple[str, float]] = {}  # by model: its state, and the seconds until it was first seen

    def see(self, name: str, state: str) -> bool:
        """Whether that is a change."""
        if self._seen.get(name, ("",))[0] == state:
            return False
        self._seen[name] = state, self.so_far()
        return True

    def so_far(self) -> float:
        """Seconds."""
        return self._clock() - self._began

    def of(self, model: ModelState) -> float:
        """Seconds: until it settled, or so far."""
        return self._seen[model.id][1] if model.is_settled else self.so_far()


def what_is_wrong(model: ModelState, remedy: str) -> str:
    """Why a model failed and what to do, or what keeps it from starting. `remedy`: the command for a mended file."""
    if model.state != FAILED:
        return model.error or ""
    return f"{model.error or 'no error is known'}. Mend its entry, then: {remedy}"


class TerminalProgress(Progress):
    """Lines that change in place."""

    def __init__(self, models: Sequence[str] | None, remedy: str, times: Times, console: Console) -> None:
        """`models`: the ids of those that have a line; None: of all."""
        self._models = models
        self._remedy = remedy
        self._times = times
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._look = Look()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._live.update(self._table(one for one in self._shown() if one.is_settled))
        self._live.__exit__(None, None, None)

    def show(self, look: Look) -> None:
        self._look = look
        for model in look.models:
            self._times.see(model.id, model.state)
        starting = Text(f"{look.stage} ... {self._times.so_far():.0f} s", colour_of(look.stage))
        self._live.update(self._table(self._shown()) if look.models else starting, refresh=True)

    def _shown(self) -> list[ModelState]:
        return [one for one in self._look.models if self._models is None or one.id in self._models]

    def _table(self, models: Iterable[ModelState]) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("left", "left", "right"):
            table.add_column(no_wrap=True, justify=justify)
        table.add_column(overflow="fold")
        for one in models:
            seconds = f"{self._times.of(one):.0f} s"
            table.add_row(
                Text(one.id), Text(one.state, colour_of(one.state)), seconds, Text(what_is_wrong(one, self._remedy))
            )
        return table


class PlainProgress(Progress):
    """A line at each change: for files, and for whoever reads them."""

    def __init__(self, remedy: str, times: Times) -> None:
        self._remedy = remedy
        self._times = times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, look: Look) -> None:
        if not look.models and self._times.see("", look.stage):
            print(f"{look.stage} ...", flush=True)
        for model in look.models:
            if self._times.see(model.id, f"{model.state} {model.error or ''}"):
                why = what_is_wrong(model, self._remedy)
                line = f"{model.id}: {model.state} ({self._times.so_far():.0f} s)"
                print(f"{line}: {why}" if why else line, flush=True)
