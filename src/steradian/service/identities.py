"""Routes that manage a gallery: enroll, list, rename, merge, remove, and map it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, HTTPException, Query, Response
from fastapi import Path as PathField
from numpy.typing import NDArray
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from steradian.errors import DataError
from steradian.finding.alone import Box
from steradian.gallery import Gallery, Identity
from steradian.gallery.enrolling import check_quality
from steradian.gallery.pictures import Pictures, shown
from steradian.gallery.records import LONGEST_METADATA, checked_name
from steradian.gallery.search.exact import unit
from steradian.service import uploads
from steradian.service.answers import (
    LARGEST,
    Change,
    Enrollment,
    IdentityDetail,
    IdentityEntry,
    IdentityList,
    KeptImage,
    Listed,
    Map,
    Merge,
    Move,
    Point,
)
from steradian.service.engine import Engine
from steradian.service.forms import FormRoute
from steradian.service.limits import Limits
from steradian.service.questions import Files, json_object

PAGE, POINTS = 100, 3000

BOX = TypeAdapter(tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat])

Number = Annotated[int, PathField(ge=1, le=LARGEST)]


def identity_routes(engine: Engine, gallery: Gallery, keep_pictures: bool, limits: Limits) -> APIRouter:
    """Build the routes; ``keep_pictures``: whether enrolled pictures are kept beside the gallery."""
    router = APIRouter(prefix="/v1", tags=["identities"], route_class=FormRoute)
    pictures = gallery.pictures if keep_pictures else None
    store = gallery.register

    @router.get("/identities")
    def identities(
        containing: Annotated[str, Query(max_length=256)] = "",
        after: Annotated[str, Query(max_length=256)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = PAGE,
    ) -> IdentityList:
        """List the enrolled identities by name."""
        page = store.identities(containing, after, limit)
        pictures = store.backend.first_images([number for number, _ in page]) if page else {}
        listed = [Listed(**_entry(number, one).model_dump(), picture=pictures.get(number)) for number, one in page]
        return IdentityList(total=len(store), identities=listed)

    @router.post("/identities", status_code=201)
    async def enroll(
        files: Files,
        name: Annotated[str, Form(max_length=10_000)],
        metadata: Annotated[str | None, Form(max_length=LONGEST_METADATA, description="A JSON object.")] = None,
        region: Annotated[
            str | None,
            Form(
                max_length=200, description="Of one picture, only the region with this box: [left, top, right, bottom]"
            ),
        ] = None,
        force: Annotated[
            bool, Form(description="Enroll pictures that are too blurred, covered or small, too.")
        ] = False,
    ) -> Enrollment:
        """Enroll images under a new or existing name: all of them, or none after an error.

        Of a model that finds regions, such as faces, a picture must show one, or ``region`` names one of several; then
        only that part of the picture is kept.
        """
        parsed, checked = json_object("metadata", metadata), checked_name(name)
        sent = await uploads.read(files, limits)
        if region is not None:
            sent = [await engine.alone(_single(sent), _box(region, engine.model.preprocessing.finds))]
        images, raw = await engine.embed(sent, "only" if region is None else "prominent")
        if images.failures:
            raise HTTPException(422, f"{images.failures[0].image}: {images.failures[0].reason}. Nothing was enrolled.")
        for upload, seen in zip(images.names, images.regions, strict=True):
            if seen is not None and not force:
                try:
                    check_quality(seen[1], engine.model.gate)
                except DataError as error:
                    raise HTTPException(422, f"{upload}: {error}. Nothing was enrolled.") from error
        return await run_in_threadpool(_enroll, gallery, pictures, checked, unit(raw), sent, parsed)

    @router.get("/identities/{number}")
    def identity(number: Number) -> IdentityDetail:
        """Return one identity with its images."""
        _, one = store.identity(number)
        enrolled_images = [KeptImage(id=image.id, created=image.created) for image in store.images_of(number)]
        return IdentityDetail(**_entry(number, one).model_dump(), enrolled=enrolled_images)

    @router.patch("/identities/{number}")
    def change(number: Number, changes: Change) -> IdentityEntry:
        """Change the name or the metadata of an identity."""
        store.edit(number, name=changes.name, metadata=changes.metadata)
        return _entry(*store.identity(number))

    @router.post("/identities/{number}/merge")
    def merge(number: Number, target: Merge) -> IdentityEntry:
        """Merge an identity into another."""
        gallery.merge(number, target.into)
        return _entry(*store.identity(target.into))

    @router.delete("/identities/{number}", status_code=204)
    def remove(number: Number) -> Response:
        """Remove an identity, its images and their kept pictures."""
        gallery.remove(number)
        return Response(status_code=204)

    @router.get("/images/{number}", response_class=Response)
    async def image(number: Number) -> Response:
        """Return a small JPEG of an enrolled image."""
        record = await run_in_threadpool(store.image, number)
        try:
            content = await engine.in_decoder(shown, gallery.pictures.find(record.source), limits.pixels)
        except DataError as error:
            # The answer must not reveal the file's path.
            message = f"Image {number} cannot be shown: its picture was not kept, is gone or is damaged."
            raise HTTPException(404, message) from error
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.delete("/images/{number}", status_code=204)
    def remove_image(number: Number) -> Response:
        """Remove one image from its identity, which keeps at least one."""
        gallery.remove_images([number])
        return Response(status_code=204)

    @router.post("/images/move")
    def move_images(move: Move) -> IdentityEntry:
        """Give images to another identity, new or already enrolled; each identity keeps at least one."""
        return _entry(*store.identity(store.move_images(move.images, move.name, move.metadata)))

    @router.get("/map")
    def explore(limit: Annotated[int, Query(ge=1, le=POINTS)] = POINTS) -> Map:
        """Return the gallery as points in three dimensions."""
        snapshot = gallery.snapshot()
        rows = np.random.default_rng(0).permutation(len(snapshot.ids))[:limit]
        coordinates, kept = principal(snapshot.vectors[rows])
        owners, images = snapshot.identities[rows].tolist(), snapshot.ids[rows].tolist()
        points = [
            Point(x=x, y=y, z=z, label=snapshot.names[owner], identity=owner, image=image)
            for (x, y, z), owner, image in zip(coordinates.tolist(), owners, images, strict=True)
        ]
        return Map(points=points, shown=len(points), total=len(snapshot.ids), kept=kept)

    return router


def _enroll(
    gallery: Gallery,
    pictures: Pictures | None,
    name: str,
    vectors: NDArray[np.float32],
    sent: list[uploads.Upload],
    metadata: dict[str, Any] | None,
) -> Enrollment:
    with gallery.register.backend.change():
        # Refuse what cannot be written before a picture is.
        pass
    # Write pictures first, so that every enrolled image has its picture; leftover pictures are deleted later.
    sources: list[str] = []
    try:
        for one in sent:
            sources.append(str(pictures.keep(one.content)) if pictures is not None else "")
        result = gallery.enroll_vectors(name, vectors, sources, metadata, called=[one.name for one in sent])
    except BaseException:
        if pictures is not None:
            pictures.forget(sources)
        raise
    identity = _entry(*gallery.register.identity(result.number))
    hints = [str(hint) for hint in result.hints]
    return Enrollment(identity=identity, added=result.images, images=list(result.added), hints=hints)


def _single(sent: list[uploads.Upload]) -> uploads.Upload:
    if len(sent) != 1:
        raise HTTPException(422, f"A region is of one picture; {len(sent)} came.")
    return sent[0]


def _box(region: str, finds: bool) -> Box:
    """Return the box that a request names. Raises `HTTPException`."""
    if not finds:
        raise HTTPException(422, "This model takes pictures whole, so no region of them can be enrolled.")
    try:
        left, top, right, bottom = BOX.validate_json(region)
    except ValidationError as error:
        raise HTTPException(422, "region must be four numbers [left, top, right, bottom], in pixels.") from error
    return left, top, right, bottom


def _entry(number: int, one: Identity) -> IdentityEntry:
    return IdentityEntry(id=number, **asdict(one))


def principal(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Project ``vectors`` [N, D] on their principal directions; return [N, 3] and the share of squared lengths kept.

    The vectors are not centered first, so that the origin stays the center of the sphere.
    """
    coordinates = np.zeros((len(vectors), 3))
    if not len(vectors):
        return coordinates, 1.0
    _, _, directions = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    projected = vectors @ directions[:3].T
    coordinates[:, : projected.shape[1]] = projected
    return coordinates, float((projected**2).sum() / max(float((vectors**2).sum()), 1e-12))
