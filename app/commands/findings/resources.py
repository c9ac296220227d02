"""What a replica reserves and no machine has: it would wait for ever, and its model stay starting."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from app.commands import driver
from app.commands.findings.finding import Finding

# The largest machines that clouds rent out; a replica lies on one machine.
MOST_CPUS = 1920
MOST_GPUS = 16


def resource_findings(model: Mapping[str, Any], place: str, *, here: bool) -> Iterator[Finding]:
    """Of an entry as it was written. `here` says whether its replicas run on this machine only."""
    resources = model.get("resources")
    given = resources if isinstance(resources, Mapping) else {}
    for name, most, has in (("num_cpus", MOST_CPUS, cpus_here), ("num_gpus", MOST_GPUS, gpus_here)):
        wanted = given.get(name, 0)
        if isinstance(wanted, bool) or not isinstance(wanted, int | float):
            continue
        where, what = f"{place}.resources.{name}", name.removeprefix("num_").upper()[:-1] + "s"
        if wanted > most:
            yield Finding(where, f"{wanted:g} for each replica, and no machine has more than {most} {what}; lower it")
        elif here and (there := has()) and wanted > there:
            yield Finding(where, f"{wanted:g} for each replica, and this machine has {there} {what}; lower it")


def cpus_here() -> int:
    """0 where that is not known."""
    return os.cpu_count() or 0


def gpus_here() -> int:
    """0 where there is no driver: the file is then for another machine."""
    try:
        return len(driver.gpus())
    except driver.DriverError:
        return 0
