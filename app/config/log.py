"""What is logged, and in which form: of the gateway, and of every model that says nothing else."""

from pydantic import Field

from contract.fields import Strict
from contract.log_settings import OURS, Format, Level, LogSettings


class Logging(Strict):
    """The logs of all processes: one form, and a level that a model's entry may override (`log_level`)."""

    format: Format = Field(
        "json",
        description="json: one object a line, the same fields everywhere; text: for people at a terminal. The line of "
        "each request is JSON in both",
    )
    level: Level = "info"

    def settings(self) -> LogSettings:
        """Of a process that has no engine."""
        return LogSettings(self.format, {OURS: self.level})
