"""What operators send to make a key, to change one and to rotate one."""

from typing import Annotated, Any

from pydantic import Field, create_model

from app.keys.entry import KeyEntry, Moment
from contract.fields import Strict

# Of a key's entry, what nobody chooses: it is made, or comes with what happens to the key.
_MADE = {"id", "sha256", "created", "rotated_from", "revoked"}
_CHOSEN: dict[str, Any] = {
    name: (field.annotation, field) for name, field in KeyEntry.model_fields.items() if name not in _MADE
}

KeyFacts = create_model(
    "KeyFacts",
    __base__=Strict,
    __doc__="A key to be made, in which what is left out has its default; or what is to be changed of one.",
    **_CHOSEN,
)


class Rotation(Strict):
    """A key to be put in place of another."""

    grace_s: Annotated[float, Field(ge=0, le=366 * 86400)] = Field(
        86400, description="how long the old key stays valid, in seconds"
    )
    expires: Moment | None = Field(
        None, description="of the new key; left out: it lives as long as the old one was made for"
    )
