"""One thing that is wrong in a config file, or worth a look."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Where it is, what it is and what to do."""

    place: str  # such as applications[0].args.models[2].source; empty: the file itself
    message: str
    is_fault: bool = True  # the service would not start, or not do what the file says; else a person must know

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message
