"""Routes that look after a gallery: enroll, list, rename, merge, remove, and what an explorer shows."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, HTTPException, Query, Response
from fastapi import Path as PathField
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from steradian.errors import DataError
from steradian.gallery import Gallery, Identity
from steradian.gallery.pictures import Pictures, shown
from steradian.gallery.search import unit
from steradian.gallery.store import LONGEST_METADATA, checked_name
from steradian.service import uploads
from steradian.service.answers import (
    LARGEST,
    Change,
    Enrollment,
    KeptImage,
    Map,
    Merge,
    People,
    Person,
    PersonInFull,
    Point,
)
from steradian.service.engine import Engine
from steradian.service.limits import Limits
from steradian.service.questions import Files, json_object

PAGE, POINTS = 100, 3000

Number = Annotated[int, PathField(ge=1, le=LARGEST)]


def people_routes(engine: Engine, gallery: Gallery, keep_pictures: bool, limits: Limits) -> APIRouter:
    """The routes; ``keep_pictures``: whether enrolled pictures are kept beside the gallery."""
    router = APIRouter(prefix="/v1", tags=["identities"])
    pictures = gallery.pictures if keep_pictures else None
    store = gallery.store

    @router.get("/identities")
    def identities(
        containing: Annotated[str, Query(max_length=256)] = "",
        after: Annotated[str, Query(max_length=256)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = PAGE,
    ) -> People:
        """Who is enrolled, by name."""
        found = store.identities(containing, after, limit)
        return People(total=len(store), identities=[_person(number, one) for number, one in found])

    @router.post("/identities", status_code=201)
    async def enroll(
        files: Files,
        name: Annotated[str, Form(max_length=10_000)],
        metadata: Annotated[str | None, Form(max_length=LONGEST_METADATA, description="A JSON object.")] = None,
    ) -> Enrollment:
        """Add images of a name, new or enrolled already: all of them, or after an error none."""
        facts, known_as = json_object("metadata", metadata), checked_name(name)
        sent = await uploads.read(files, limits)
        found, raw = await engine.embed(sent)
        if found.failures:
            raise HTTPException(422, f"{found.failures[0].image}: {found.failures[0].reason}. Nothing was enrolled.")
        contents = [one.content for one in sent]
        return await run_in_threadpool(_enroll, gallery, pictures, known_as, unit(raw), contents, facts)

    @router.get("/identities/{number}")
    def identity(number: Number) -> PersonInFull:
        """One identity with its images."""
        _, one = store.identity(number)
        kept = [KeptImage(id=image.id, created=image.created) for image in store.images_of(number)]
        return PersonInFull(**_person(number, one).model_dump(), enrolled=kept)

    @router.patch("/identities/{number}")
    def change(number: Number, wanted: Change) -> Person:
        """Another name, other metadata."""
        store.edit(number, name=wanted.name, metadata=wanted.metadata)
        return _person(*store.identity(number))

    @router.post("/identities/{number}/merge")
    def merge(number: Number, wanted: Merge) -> Person:
        """Two identities were one all along."""
        gallery.merge(number, wanted.into)
        return _person(*store.identity(wanted.into))

    @router.delete("/identities/{number}", status_code=204)
    def remove(number: Number) -> Response:
        """Forget somebody, the images and their kept pictures."""
        gallery.remove(number)
        return Response(status_code=204)

    @router.get("/images/{number}", response_class=Response)
    async def image(number: Number) -> Response:
        """A small picture of an enrolled image, JPEG."""
        kept = await run_in_threadpool(store.image, number)
        try:
            content = await engine.in_decoder(shown, gallery.pictures.find(kept.source), limits.pixels)
        except DataError as error:
            # Where it lay is nobody's business outside.
            words = f"Image {number} cannot be shown: its picture was not kept, is gone or is damaged."
            raise HTTPException(404, words) from error
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.get("/map")
    def explore(limit: Annotated[int, Query(ge=1, le=POINTS)] = POINTS) -> Map:
        """The gallery as points in three dimensions."""
        held = gallery.memory()
        rows = np.random.default_rng(0).permutation(len(held.ids))[:limit]
        places, kept = principal(held.vectors[rows])
        owners, images = held.identities[rows].tolist(), held.ids[rows].tolist()
        points = [
            Point(x=x, y=y, z=z, label=held.names[owner], identity=owner, image=image)
            for (x, y, z), owner, image in zip(places.tolist(), owners, images, strict=True)
        ]
        return Map(points=points, shown=len(points), total=len(held.ids), kept=kept)

    return router


def _enroll(
    gallery: Gallery,
    pictures: Pictures | None,
    name: str,
    vectors: NDArray[np.float32],
    contents: list[bytes],
    metadata: dict[str, Any] | None,
) -> Enrollment:
    # Pictures first: an image that is enrolled has its picture, while a picture too many is swept away some day.
    sources: list[str] = []
    try:
        for content in contents:
            sources.append(str(pictures.keep(content)) if pictures is not None else "")
        done = gallery.enroll_vectors(name, vectors, sources, metadata)
    except BaseException:
        if pictures is not None:
            pictures.forget(sources)
        raise
    identity = _person(*gallery.store.identity(done.number))
    return Enrollment(identity=identity, added=done.images, hints=list(done.hints))


def _person(number: int, one: Identity) -> Person:
    return Person(
        id=number, name=one.name, images=one.images, created=one.created, changed=one.changed, metadata=one.metadata
    )


def principal(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """``vectors`` [N, D] by their three principal directions, [N, 3], and the share of squared lengths they keep.

    The directions are those of the vectors themselves, not of their differences from a mean, so that an angle to the
    origin stays one.
    """
    places = np.zeros((len(vectors), 3))
    if not len(vectors):
        return places, 1.0
    _, _, directions = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    found = vectors @ directions[:3].T
    places[:, : found.shape[1]] = found
    return places, float((found**2).sum() / max(float((vectors**2).sum()), 1e-12))
