"""Bounds on what requests bring and take: bodies and times, keys' shares of a model, images, audio, kept images."""

from pathlib import Path
from typing import Annotated, Self

import pydantic
from pydantic import Field, StringConstraints

from contract.fields import PositiveFloat, PositiveInt, Strict
from contract.project import in_project

DOMAIN = r"^(\*\.)?[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}(:[0-9]{1,5})?$"


class Limits(Strict):
    """Bounds on one request, and on the bodies of all that are under way."""

    max_body_bytes: PositiveInt = Field(
        32 * 1024 * 1024, description="of a JSON body whose parts hold images or audio in base64"
    )
    max_json_bytes: PositiveInt = Field(4 * 1024 * 1024, description="of a JSON body without that base64")
    max_file_bytes: PositiveInt = Field(25 * 1024 * 1024, description="of a recording to transcribe")
    bodies_in_flight_bytes: PositiveInt = Field(
        512 * 1024 * 1024,
        description="of all bodies of requests that an ingress replica holds, counted as they come and until their "
        "answers have ended; then 503 with Retry-After",
    )
    bodies_in_flight_bytes_per_key: PositiveInt = Field(
        128 * 1024 * 1024, description="of these, the bodies of one key's requests"
    )
    body_pause_timeout_s: PositiveFloat = Field(60, description="between two reads of a body that is still incomplete")
    body_timeout_s: PositiveFloat = Field(600, description="until a body is complete")
    first_byte_timeout_s: PositiveFloat = 600
    wake_timeout_s: PositiveFloat = Field(
        60,
        description="how long a request waits for a model that was scaled to zero, or has lost all replicas; then 503 "
        "with Retry-After",
    )
    ping_interval_s: PositiveFloat = 15
    stream_idle_timeout_s: PositiveFloat = Field(300, description="without a byte of a stream from the engine")
    stream_buffer_bytes: PositiveInt = Field(
        8 * 1024 * 1024,
        description="of a stream that its reader has not taken yet; then no more is read from the engine. Where "
        "nothing slows an engine down (no gRPC between replicas) the stream ends at four times that",
    )
    write_stall_timeout_s: PositiveFloat = Field(
        120, description="in which a reader takes nothing of its answer; then the connection is cut"
    )

    @pydantic.model_validator(mode="after")
    def _bodies_have_room(self) -> Self:
        for largest in ("max_body_bytes", "max_file_bytes"):
            if getattr(self, largest) > self.bodies_in_flight_bytes_per_key:
                raise ValueError(f"bodies_in_flight_bytes_per_key must be {largest} or more, or that has no room")
        if self.bodies_in_flight_bytes_per_key > self.bodies_in_flight_bytes:
            raise ValueError("bodies_in_flight_bytes must be bodies_in_flight_bytes_per_key or more")
        return self


class Fairness(Strict):
    """How keys share what a model can do. The key's own `weight` decides among those that wait."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of the requests that a model takes at once, and that one key may have there while other keys send "
        "requests to it; 1: no such bound",
    )


class InputImages(Strict):
    """Bounds on the images that chat and responses bring, and where from the gateway fetches those named by a URL."""

    allowed_domains: list[Annotated[str, StringConstraints(pattern=DOMAIN, to_lower=True)]] = Field(
        [],
        description="hosts, `*.` before one for all under it, `:port` after one for another port than 80 and 443; "
        "none: only data URLs",
    )
    allowed_networks: list[pydantic.IPvAnyNetwork] = Field(
        [], description="private networks where such hosts may be; every public address is legal anyhow"
    )
    fetch_timeout_s: PositiveFloat = 10
    max_per_request: PositiveInt = 32
    max_bytes: PositiveInt = 20 * 1024 * 1024
    max_pixels: PositiveInt = Field(50_000_000, description="of one image")
    max_total_pixels: PositiveInt = Field(100_000_000, description="of all images of a request; 3 bytes each, decoded")
    measure_timeout_s: PositiveFloat = Field(10, description="in which the images of a request are measured")


class InputAudio(Strict):
    """Bounds on the audio that chat requests bring to models that take it."""

    max_per_request: PositiveInt = 8
    max_bytes: PositiveInt = Field(20 * 1024 * 1024, description="of one, decoded from base64")
    max_total_bytes: PositiveInt = Field(24 * 1024 * 1024, description="of all of a request")
    check_timeout_s: PositiveFloat = Field(10, description="in which all of a request is checked")


class KeptImages(Strict):
    """Where images are kept that clients get as URLs."""

    location: str | None = Field(
        None,
        description="a folder, or a URL that fsspec knows, that every ingress replica can reach; left out, with one "
        "ingress replica: a folder among those for temporary files",
    )
    secret_file: str | None = Field(
        None,
        description="at least 32 random bytes that sign the URLs, the same on every node; left out, with one ingress "
        "replica: made and kept in the location",
    )
    lifetime_s: PositiveFloat = Field(3600, description="of an image and its URL")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="what URLs begin with; left out: http:// and the request's Host header",
    )

    def secret_path(self) -> Path | None:
        return None if self.secret_file is None else Path(in_project(self.secret_file))
