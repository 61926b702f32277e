"""The types of the service's answers, which its documentation shows as well."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from steradian.gallery.decision import Verdict
from steradian.models.calibration import Threshold


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A cosine or probability; null if there is none."""


LARGEST = 2**63 - 1
"""The largest id that the record assigns."""


class Failure(BaseModel):
    """A file that could not be read as an image."""

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
    candidates: list[str] | None = Field(description="contain the true class at rate `coverage`; null: not calibrated")
    known: bool | None


class Classify(BaseModel):
    """Answer of ``/v1/classify``."""

    answers: list[Classified]
    failures: list[Failure]


class Matched(BaseModel):
    """An enrolled identity and its similarity to the image."""

    label: str
    similarity: float = Field(description="cosine")
    probability: Number
    identity: int | None
    image: int | None = Field(description="id of the nearest enrolled image")


class Seen(BaseModel):
    """How well a region can be seen, see `finding.Quality`."""

    side: float
    sharpness: float
    inside: float
    score: float


class Found(BaseModel):
    """Where a region is in its picture."""

    box: tuple[float, float, float, float] = Field(description="left, top, right, bottom in pixels")
    points: list[tuple[float, float]] | None
    turned: int = Field(description="quarter turns of the picture to the left after which it is upright")
    quality: Seen


class Identified(BaseModel):
    """Who is on one image, or in one region of it, see `gallery.Decision`."""

    image: str
    decision: Verdict
    label: str | None
    similarity: Number
    threshold: float
    probability: Number
    matches: list[Matched]
    region: Found | None = Field(None, description="null for a model that takes pictures whole")
    elsewhere: str | None = Field(None, description="the name that fits best, but is in another region of the picture")
    trust: float | None = Field(
        None, description="chance that the name is right, or else that somebody enrolled would have been named"
    )


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
    """Answer of ``/v1/embed``: unit vectors, comparable only with those of the same model."""

    model: str
    images: list[str]
    vectors: list[list[float]]
    failures: list[Failure]


class IdentityEntry(BaseModel):
    """An enrolled identity."""

    id: int
    name: str
    images: int
    created: str
    changed: str
    metadata: dict[str, Any]


class Listed(IdentityEntry):
    """An enrolled identity, and one of its images to show."""

    picture: int | None = Field(description="id of its first image")


class KeptImage(BaseModel):
    """An enrolled image."""

    id: int
    created: str


class IdentityDetail(IdentityEntry):
    """An enrolled identity with its images."""

    enrolled: list[KeptImage]


class IdentityList(BaseModel):
    """A page of ``/v1/identities``; for the next one set ``after`` to the last name."""

    total: int
    identities: list[Listed]


class Enrollment(BaseModel):
    """The result of an enrollment, which is on disk."""

    identity: IdentityEntry
    added: int
    images: list[int] = Field(description="ids of the added images")
    hints: list[str]


class Change(BaseModel):
    """Changes of an identity; omitted fields stay as they are."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    metadata: dict[str, Any] | None = None


class Merge(BaseModel):
    """The identity that receives the images."""

    into: int = Field(ge=1, le=LARGEST)


class Move(BaseModel):
    """Images, and the name that gets them, new or already enrolled; metadata are merged into the existing ones."""

    model_config = ConfigDict(extra="forbid")

    images: list[Annotated[int, Field(ge=1, le=LARGEST)]] = Field(min_length=1, max_length=100_000)
    name: str
    metadata: dict[str, Any] | None = None


class Point(BaseModel):
    """An enrolled image on the sphere."""

    x: float
    y: float
    z: float
    label: str
    identity: int
    image: int


class Map(BaseModel):
    """The gallery's vectors projected on their three principal directions."""

    points: list[Point]
    shown: int
    total: int
    kept: float = Field(description="share of the squared lengths that the projection keeps")


class Refusal(BaseModel):
    """Why a request was not answered."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"model": Refusal, "description": "Too large: the request, its files, or an image."},
    422: {"model": Refusal, "description": "The request is not valid."},
    429: {"model": Refusal, "description": "This client sends too many requests; Retry-After says when to try again."},
    503: {"model": Refusal, "description": "The queue is full, or the gallery cannot be used now."},
    504: {"model": Refusal, "description": "The answer took too long."},
}
CLOSED: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "A token is needed."},
    403: {"model": Refusal, "description": "The token does not allow this request, or the request is cross-site."},
}


class About(BaseModel):
    """The model and the settings of the service."""

    version: str
    model: str
    classes: int
    embedding_size: int
    channels: int
    size: int
    dark: bool = Field(description="whether the model's images are mostly dark")
    coverages: list[float]
    thresholds: list[Threshold]
    far: float = Field(description="default false-accept rate of pairs")
    strangers: float = Field(description="default share of strangers that may be given a name")
    by_pairs: bool = Field(description="whether `far` rules identify, too, where a request gives no rate")
    gallery: bool = Field(description="whether identities can be enrolled")
    built_in: bool = Field(description="whether the model came with steradian, so that its classes are of no interest")
