"""Where changes of keys and of the configuration are written down."""

from pathlib import Path

import pydantic
from pydantic import Field

from contract.fields import Strict
from contract.project import in_project


class Audit(Strict):
    """The audit log. The gateway's log has its lines in any case, by the logger portico.audit."""

    file: str | None = Field(
        None,
        description="an absolute path, or one in the project that begins with ./: takes a JSON line for each change, "
        "from commands and from each gateway replica; left out: commands write beside the key file "
        "(keys.audit.jsonl for keys.json)",
    )

    @pydantic.field_validator("file")
    @classmethod
    def _same_for_every_process(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("/", "./")):
            raise ValueError(f"{value!r} is neither an absolute path nor one in the project that begins with ./")
        return value

    def path(self) -> Path | None:
        return None if self.file is None else Path(in_project(self.file))


def beside(key_file: Path) -> Path:
    """The audit log of a key file for which the configuration names none."""
    return key_file.with_suffix(".audit.jsonl")
