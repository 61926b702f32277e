"""Routes for queries about images: classify, identify, verify, embed."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, Depends, File, HTTPException, Query, Response, UploadFile
from numpy.typing import NDArray
from PIL import Image
from starlette.concurrency import run_in_threadpool

from steradian.errors import DataError
from steradian.finding.regions import region_answer
from steradian.gallery import Gallery, pictures
from steradian.gallery.decision import AUTO, STRATEGIES, as_answer, listed
from steradian.gallery.explaining import check_same
from steradian.gallery.photos import judged, margin_of, matches_needed, one_each, rounded, taken_elsewhere
from steradian.gallery.search.exact import unit
from steradian.models.evidence import covered, lost, shaded
from steradian.service import uploads
from steradian.service.access import BEARER
from steradian.service.answers import CLOSED, Classify, Embed, Identify, Verify
from steradian.service.engine import Engine
from steradian.service.forms import FormRoute
from steradian.service.limits import Limits
from steradian.service.telemetry import ServiceMetrics

Files = Annotated[list[UploadFile], File(alias="file", description="Image files.")]
Top = Annotated[int, Query(ge=1, le=100, description="Number of names that an answer lists.")]
Far = Annotated[float | None, Query(gt=0, lt=1, description="False-accept rate that selects the threshold.")]


def question_routes(
    engine: Engine,
    gallery: Gallery | None,
    limits: Limits,
    numbers: ServiceMetrics,
    usual_far: float | None,
    usual_strangers: float | None,
) -> APIRouter:
    """Build the routes for a model and, if given, a gallery."""
    explaining = asyncio.Semaphore(1)
    router, model = APIRouter(prefix="/v1", tags=["questions"], route_class=FormRoute), engine.model

    @router.post("/classify")
    async def classify(
        files: Files,
        top: Top = 5,
        coverage: Annotated[float, Query(gt=0, lt=1, description="Coverage of the candidate set.")] = 0.95,
    ) -> Classify:
        """Classify images by the classes that the model was trained on."""
        decoded, raw = await engine.embed(await uploads.read(files, limits))
        named = await run_in_threadpool(model.classify_embeddings, torch.from_numpy(raw), top, coverage)
        answers = [one.as_answer(name) for name, one in zip(decoded.names, named, strict=True)]
        return Classify.model_validate({"answers": answers, "failures": decoded.failures})

    @router.post("/embed")
    async def embed(files: Files) -> Embed:
        """Embed images as unit vectors."""
        decoded, raw = await engine.embed(await uploads.read(files, limits))
        vectors = unit(raw).tolist()
        return Embed(model=model.model_id, images=list(decoded.names), vectors=vectors, failures=list(decoded.failures))

    @router.post("/verify")
    async def verify(files: Files, far: Far = None) -> Verify:
        """Decide whether two images show the same identity."""
        if len(files) != 2:
            raise HTTPException(422, f"Send exactly two images to compare; {len(files)} came.")
        decoded, raw = await engine.embed(await uploads.read(files, limits))
        if decoded.failures:
            raise HTTPException(422, f"{decoded.failures[0].image}: {decoded.failures[0].reason}.")
        first, second = unit(raw)
        return Verify.model_validate(
            model.verify_similarity(float(first @ second), far or usual_far), from_attributes=True
        )

    if gallery is None:
        return router

    @router.post("/identify", responses=CLOSED, dependencies=[Depends(BEARER)])
    async def identify(
        files: Files,
        top: Top = 5,
        strangers: Annotated[
            float | None,
            Query(gt=0, lt=1, description="Share of strangers that may be given any name; sets the threshold."),
        ] = None,
        far: Annotated[float | None, Query(gt=0, lt=1, description="A rate of pairs, instead of strangers.")] = None,
        threshold: Annotated[
            float | None, Query(ge=-1, le=1, description="Cosine threshold, instead of a rate.")
        ] = None,
        strategy: Annotated[str, Query(description=f"One of {', '.join(STRATEGIES)}.")] = AUTO,
        label: Annotated[list[str] | None, Query(description="Only identities with these names.")] = None,
        where: Annotated[str | None, Query(description="A JSON object: only identities with these metadata.")] = None,
        repeated: Annotated[
            bool, Query(description="Several regions of a picture may have one name, as in a mirror.")
        ] = False,
    ) -> Identify:
        """Decide who of the gallery is on each image: a match, "unknown" or "ambiguous".

        A model that finds regions, such as faces, gives one answer for each of them, and each name once a picture. Of a
        region that is too poor to tell, the decision is "poor".
        """
        metadata = json_object("where", where)
        if strangers is None and far is None and threshold is None:
            strangers, far = usual_strangers, usual_far if usual_strangers is None else None
        decoded, raw = await engine.embed(await uploads.read(files, limits), "every")
        most = matches_needed(top, len(raw)) if model.preprocessing.finds else top
        alone = await run_in_threadpool(
            gallery.identify_vectors,
            unit(raw),
            top=most,
            strangers=strangers,
            far=far,
            threshold=threshold,
            strategy=strategy,
            labels=label,
            where=metadata,
        )
        decisions = list(alone)
        if model.preprocessing.finds and not repeated:
            for number in set(decoded.uploads):
                rows = [row for row, of in enumerate(decoded.uploads) if of == number]
                for row, one in zip(rows, one_each([alone[row] for row in rows], margin_of(strategy)), strict=True):
                    decisions[row] = one
        elsewhere = [taken_elsewhere(before, one) for before, one in zip(alone, decisions, strict=True)]
        trusts: list[float | None] = [None] * len(decisions)
        for row, seen in enumerate(decoded.regions):
            if seen is not None:
                asked = {"strangers": strangers, "far": far, "threshold": threshold}
                decisions[row], trusts[row] = judged(decisions[row], seen[1], model.gate, elsewhere[row], **asked)
        for one in decisions:
            numbers.decisions.labels(one.decision).inc()
        answers = [
            {
                **as_answer(name, listed(one, top)),
                "region": seen and region_answer(*seen),
                "elsewhere": other,
                "trust": rounded(trust),
            }
            for name, seen, one, other, trust in zip(
                decoded.names, decoded.regions, decisions, elsewhere, trusts, strict=True
            )
        ]
        return Identify.model_validate({"answers": answers, "failures": decoded.failures})

    @router.post("/explain", responses=CLOSED, dependencies=[Depends(BEARER)], response_class=Response)
    async def explain(
        files: Files, identity: Annotated[int, Query(ge=1, le=2**63 - 1, description="Number of an identity.")]
    ) -> Response:
        """Return a JPEG of one image and of the nearest of an identity, side by side: clear where both are alike.

        One part after the other is covered and compared again, which costs as much as a hundred questions. So one is
        answered at a time; others get status 503.
        """
        if len(files) != 1:
            raise HTTPException(422, f"Send exactly one image to explain; {len(files)} came.")
        if explaining.locked():
            raise HTTPException(503, "Another picture is being explained: try again soon.", {"Retry-After": "2"})
        async with explaining:
            try:
                content = await asyncio.wait_for(explained(files, identity), limits.answer_seconds)
            except asyncio.TimeoutError as error:
                raise HTTPException(504, f"No answer within {limits.answer_seconds:g} seconds.") from error
            except DataError as error:
                # The answer must not reveal the file's path.
                message = "This cannot be shown: the enrolled picture was not kept, is gone, changed or damaged."
                raise HTTPException(404, message) from error
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def explained(files: list[UploadFile], identity: int) -> bytes:
        decoded, raw = await engine.embed(await uploads.read(files, limits))
        asked = unit(raw)[0]
        image, cosine = await run_in_threadpool(gallery.nearest_image, identity, asked)
        record = await run_in_threadpool(gallery.register.image, image)
        path = gallery.pictures.find(record.source)
        kept = await engine.in_decoder(pictures.decoded, path, model.preprocessing.shortest, limits.pixels)
        squares = [decoded.pixels[0], model.preprocessing.prominent_square(kept)]
        looks = [unit(await engine.embed_pixels(await engine.in_decoder(covered, one))) for one in squares]
        check_same(float(asked @ looks[1][0]), cosine)
        parts = [
            shaded(square, lost(own, other[0])) for square, own, other in zip(squares, looks, looks[::-1], strict=True)
        ]
        return _side_by_side(parts)

    return router


def _side_by_side(pictures: list[NDArray[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(pictures, axis=1)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def json_object(field: str, text: str | None) -> dict[str, Any] | None:
    """Parse ``field`` of a request; None if empty. Raises `HTTPException` if it is not a JSON object."""
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"{field} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise HTTPException(422, f'{field} must be a JSON object such as {{"site": "north"}}.')
    return value
