"""Updates what a running service serves to what a config file says."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.audit.change import Change, by_command
from app.audit.difference import difference
from app.audit.trail import Trail
from app.commands import running_serve
from app.commands.findings.whole_file import refuse_faults
from app.commands.http_options import port_of
from app.commands.status import FAILED_STATE, GOOD, DeploymentState, states
from app.config.service import read_serve_config
from app.keys import KeyRing
from contract.fields import ConfigError

POLL_SECONDS = 0.5
NOTICED_SECONDS = 3.0  # until the controller has begun to build what it was given
UNDER_WAY = frozenset({"NOT_STARTED", "DEPLOYING"})  # of an application


def deploy(path: Path) -> set[str]:
    """Hand a config file to the Serve that this process has joined. Returns the names of its applications.

    Raises ConfigError where the file is wrong, with all that is, or has what only a new start changes. Then nothing was
    changed.
    """
    refuse_faults(path)
    content, config = read_serve_config(path)
    KeyRing(config.keys, config.key_path())
    port, now = port_of(content), running_serve.http_port()
    if port != now:
        raise ConfigError(
            f"http_options.port: it is {port} in {path}, and the service listens on {now}. Serve changes that only "
            f"at a start: write {now}, or stop the service and serve the file"
        )
    with Trail(config.audit_path()).ahead() as write:
        write(_changes(content))
        running_serve.apply(content)
    return {application["name"] for application in content["applications"]}


def _changes(content: dict[str, Any]) -> list[Change]:
    """What becomes another of each application, for the audit log."""
    return [
        Change("config.deployed", {"application": one["name"]}, by_command("portico deploy"), *differing)
        for one in content["applications"]
        if any(differing := difference(running_serve.args_of(one["name"]), one["args"]))
    ]


def wait_until_up(names: set[str], on_change: Callable[[list[DeploymentState]], None]) -> bool:
    """Wait until the applications have what they were given; false where a part of one failed.

    `on_change` gets every look at them.
    """
    begun = time.monotonic()
    while True:
        # Before the states: what was under way at a look at those may have ended at a later one at this.
        settled = all(
            one.status not in UNDER_WAY for name, one in running_serve.applications().items() if name in names
        )
        seen = [state for state in states() if state.application in names]
        on_change(seen)
        if time.monotonic() - begun > NOTICED_SECONDS and settled:
            return bool(seen) and all(one.state in GOOD for one in seen)
        if any(one.state == FAILED_STATE for one in seen) and settled:
            return False
        time.sleep(POLL_SECONDS)
