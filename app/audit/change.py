"""One change as the audit log has it: what was done to what, by whom, and what differs."""

import getpass
import os
import time
from typing import Any, NamedTuple

from contract.log_lines import fields
from contract.log_settings import AUDIT

Who = dict[str, str]
UNKNOWN: Who = {"kind": "unknown"}  # a file was edited, or another tool was at work


def by_command(name: str) -> Who:
    """`name` as the operator types it, such as `portico keys revoke`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container a user may have a number only
        user = str(os.getuid())
    return {"kind": "command", "command": name, "user": user, "host": os.uname().nodename}


def by_key(public_id: str) -> Who:
    """The owner of a key, over HTTP."""
    return {"kind": "key", "key": public_id}


class Change(NamedTuple):
    """`before` and `after` have only what differs, by its path: `budget.requests_per_minute`."""

    what: str  # such as key.revoked
    subject: dict[str, str]  # such as {"key": public id}
    who: Who
    before: dict[str, Any]
    after: dict[str, Any]
    failed: bool = False  # it was written down, and then could not be made

    def message(self) -> str:
        """In a few words."""
        return " ".join([self.what, *self.subject.values()]) + (" failed" if self.failed else "")

    def content(self) -> dict[str, Any]:
        """What stands beside the message in its line."""
        failed = {"failed": True} if self.failed else {}
        return {
            "what": self.what,
            **self.subject,
            "who": self.who,
            "before": self.before,
            "after": self.after,
        } | failed

    def line(self) -> dict[str, Any]:
        """The whole line, of the form of all logs."""
        return fields(time.time(), "info", AUDIT, self.message()) | self.content()
