"""Routes that ask about images: classify, identify, verify, embed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Depends, File, HTTPException, Query, UploadFile
from starlette.concurrency import run_in_threadpool

from steradian.gallery import Gallery
from steradian.gallery.decision import STRATEGIES, as_answer
from steradian.gallery.search import unit
from steradian.service import uploads
from steradian.service.access import BEARER
from steradian.service.answers import CLOSED, Classify, Embed, Identify, Verify
from steradian.service.engine import Engine
from steradian.service.limits import Limits
from steradian.service.watching import Numbers

Files = Annotated[list[UploadFile], File(alias="file", description="Image files.")]
Top = Annotated[int, Query(ge=1, le=100, description="How many names an answer lists.")]
Far = Annotated[float | None, Query(gt=0, lt=1, description="False-accept rate whose threshold is taken.")]


def question_routes(
    engine: Engine, gallery: Gallery | None, limits: Limits, numbers: Numbers, usual_far: float | None
) -> APIRouter:
    """The routes, for a model and, where there is one, a gallery."""
    router, model = APIRouter(prefix="/v1", tags=["questions"]), engine.model

    @router.post("/classify")
    async def classify(
        files: Files,
        top: Top = 5,
        coverage: Annotated[float, Query(gt=0, lt=1, description="What the set of candidates promises.")] = 0.95,
    ) -> Classify:
        """Name images by the classes that the model was trained on."""
        found, raw = await engine.embed(await uploads.read(files, limits))
        named = await run_in_threadpool(model.classify_embeddings, torch.from_numpy(raw), top, coverage)
        answers = [one.as_answer(name) for name, one in zip(found.names, named, strict=True)]
        return Classify.model_validate({"answers": answers, "failures": found.failures})

    @router.post("/embed")
    async def embed(files: Files) -> Embed:
        """Unit vectors of images."""
        found, raw = await engine.embed(await uploads.read(files, limits))
        vectors = unit(raw).tolist()
        return Embed(model=model.saved_id, images=list(found.names), vectors=vectors, failures=list(found.failures))

    @router.post("/verify")
    async def verify(files: Files, far: Far = None) -> Verify:
        """Say whether two images show the same."""
        if len(files) != 2:
            raise HTTPException(422, f"Two images are compared, but {len(files)} came.")
        found, raw = await engine.embed(await uploads.read(files, limits))
        if found.failures:
            raise HTTPException(422, f"{found.failures[0].image}: {found.failures[0].reason}.")
        first, second = unit(raw)
        return Verify.model_validate(model.judge(float(first @ second), far or usual_far), from_attributes=True)

    if gallery is None:
        return router

    @router.post("/identify", responses=CLOSED, dependencies=[Depends(BEARER)])
    async def identify(
        files: Files,
        top: Top = 5,
        far: Far = None,
        threshold: Annotated[float | None, Query(ge=-1, le=1, description="Cosine, instead of far.")] = None,
        strategy: Annotated[str, Query(description=f"One of {', '.join(STRATEGIES)}.")] = "nearest",
        label: Annotated[list[str] | None, Query(description="Only these names.")] = None,
        where: Annotated[str | None, Query(description="A JSON object: only names with these metadata.")] = None,
    ) -> Identify:
        """Say who of the gallery is on images, or "unknown", or "ambiguous"."""
        only = json_object("where", where)
        found, raw = await engine.embed(await uploads.read(files, limits))
        decisions = await run_in_threadpool(
            gallery.identify_vectors,
            unit(raw),
            top=top,
            far=far or usual_far,
            threshold=threshold,
            strategy=strategy,
            labels=label,
            where=only,
        )
        for one in decisions:
            numbers.decisions.labels(one.decision).inc()
        answers = [as_answer(name, one) for name, one in zip(found.names, decisions, strict=True)]
        return Identify.model_validate({"answers": answers, "failures": found.failures})

    return router


def json_object(field: str, text: str | None) -> dict[str, Any] | None:
    """What ``field`` of a request holds; None where it is empty. Raises `HTTPException` for anything but an object."""
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"{field} is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise HTTPException(422, f'{field} must be a JSON object such as {{"site": "north"}}.')
    return found
