"""What the service answers, typed; also what its documentation shows."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A cosine or probability; null where there is none."""


LARGEST = 2**63 - 1
"""The largest number that the record gives."""


class Failure(BaseModel):
    """A file that was no image that can be read."""

    image: str
    reason: str


class Ranked(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Classified(BaseModel):
    """The classes of one image, see `models.Classification`."""

    image: str
    ranking: list[Ranked]
    calibrated: bool
    coverage: float
    candidates: list[str] | None = Field(description="Hold the truth with a chance of `coverage`; null: not calibrated")
    known: bool | None


class Classify(BaseModel):
    """Answer of ``/v1/classify``."""

    answers: list[Classified]
    failures: list[Failure]


class Matched(BaseModel):
    """An enrolled identity and how alike it is."""

    label: str
    similarity: float = Field(description="cosine")
    probability: Number
    identity: int | None
    image: int | None = Field(description="the enrolled image that was the nearest")


class Identified(BaseModel):
    """Who is on one image, see `gallery.Decision`."""

    image: str
    decision: Literal["match", "unknown", "ambiguous"]
    label: str | None
    similarity: Number
    threshold: float
    probability: Number
    matches: list[Matched]


class Identify(BaseModel):
    """Answer of ``/v1/identify``."""

    answers: list[Identified]
    failures: list[Failure]


class Verify(BaseModel):
    """Answer of ``/v1/verify``."""

    same: bool
    similarity: float
    threshold: float
    far: float
    probability: Number


class Embed(BaseModel):
    """Answer of ``/v1/embed``: unit vectors, comparable with those of the same model alone."""

    model: str
    images: list[str]
    vectors: list[list[float]]
    failures: list[Failure]


class Person(BaseModel):
    """An enrolled identity."""

    id: int
    name: str
    images: int
    created: str
    changed: str
    metadata: dict[str, Any]


class KeptImage(BaseModel):
    """An enrolled image."""

    id: int
    created: str


class PersonInFull(Person):
    """An enrolled identity with its images."""

    enrolled: list[KeptImage]


class People(BaseModel):
    """A page of ``/v1/identities``; for the next one ask with ``after`` = the last name."""

    total: int
    identities: list[Person]


class Enrollment(BaseModel):
    """What an enrollment did; it is on the disk."""

    identity: Person
    added: int
    hints: list[str]


class Change(BaseModel):
    """What may be changed of an identity; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    metadata: dict[str, Any] | None = None


class Merge(BaseModel):
    """Whose images those of an identity become."""

    into: int = Field(ge=1, le=LARGEST)


class Point(BaseModel):
    """An enrolled image on the sphere."""

    x: float
    y: float
    z: float
    label: str
    identity: int
    image: int


class Map(BaseModel):
    """The gallery's vectors by their three principal directions."""

    points: list[Point]
    shown: int
    total: int
    kept: float = Field(description="share of the squared lengths that three dimensions keep")


class Rate(BaseModel):
    """A false-accept rate that may be asked for."""

    far: float
    cosine: float
    low: float
    high: float
    measured_on: str


class Refusal(BaseModel):
    """Why a request was not answered."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"model": Refusal, "description": "Too large: the request, its files, or an image."},
    422: {"model": Refusal, "description": "Something in the request cannot be used."},
    429: {"model": Refusal, "description": "This client asks too often; Retry-After says when to ask again."},
    503: {"model": Refusal, "description": "Too much waits already, or the gallery cannot be used now."},
    504: {"model": Refusal, "description": "No answer came in time."},
}
CLOSED: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "A token is needed."},
    403: {"model": Refusal, "description": "This token does not allow it, or a page of another site asks."},
}


class About(BaseModel):
    """What the service runs."""

    version: str
    model: str
    classes: int
    embedding_size: int
    channels: int
    size: int
    dark: bool = Field(description="whether most of its images are darker than they are light")
    coverages: list[float]
    thresholds: list[Rate]
    far: float = Field(description="taken where a question names none")
    gallery: bool = Field(description="whether anybody can be enrolled")
