"""Build the HTTP application for a recognizer and an optional gallery."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from steradian.errors import NotFoundError, SteradianError, StorageError
from steradian.gallery import Gallery
from steradian.models.calibration import STRANGERS, Threshold
from steradian.models.recognizer import Recognizer
from steradian.service.access import BEARER, Access
from steradian.service.answers import CLOSED, REFUSALS, About
from steradian.service.engine import Engine
from steradian.service.forms import FIELDS
from steradian.service.guard import FORM, Guard
from steradian.service.identities import identity_routes
from steradian.service.limits import Limits
from steradian.service.public_url import with_mapped
from steradian.service.questions import question_routes
from steradian.service.refusals import told
from steradian.service.telemetry import LOG, ServiceMetrics
from steradian.version import __version__

DARK = 0.4
"""Mean pixel value, of 1, below which images count as light on dark."""

OWN_IMAGES = "images of this gallery, each used as a probe not enrolled"

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

PAGE = Path(str(resources.files("steradian.service"))) / "page"
TOKENS = Path(str(resources.files("steradian.plots"))) / "tokens.css"
"""Colors, sizes and letters, which page, reports and documentation share."""


def build_app(
    model: Recognizer,
    gallery: Gallery | None = None,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    keep_pictures: bool = True,
    far: float | None = None,
    strangers: float | None = None,
    built_in: bool = False,
    lanes: int = 1,
) -> FastAPI:
    """Build the service as an ASGI application.

    Args:
        gallery: of the same model; None: no identity can be enrolled or identified.
        access: None: without tokens, for this machine alone.
        keep_pictures: whether enrolled pictures are kept beside the gallery.
        far: default rate of pairs, for verifying and, where no ``strangers`` are given, for identifying; None: verify
            at 0.001 or the lowest calibrated rate, identify at a rate of strangers.
        strangers: default share of strangers that may be given a name; None: 0.01.
        built_in: the model came with steradian: the page shows its classes only when asked.
        lanes: batches that run at the same time; the ``model`` must be accelerated for as many callers.
    """
    access, limits = access or Access(None, None, "127.0.0.1"), limits or Limits()
    numbers = ServiceMetrics()
    engine = Engine(model, limits, numbers, lanes)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.stop()

    app = FastAPI(
        title="steradian",
        version=__version__,
        description="Classify images, or identify who of a gallery is on them.",
        lifespan=lifespan,
        # The interactive documentation loads scripts from other sites, so only the OpenAPI description is served.
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        servers=[{"url": access.public.prefix or "/"}] if access.public is not None else None,
    )
    app.include_router(question_routes(engine, gallery, limits, numbers, far, strangers), responses=REFUSALS)
    if gallery is not None:
        people = identity_routes(engine, gallery, keep_pictures, limits)
        app.include_router(people, responses=REFUSALS | CLOSED, dependencies=[Depends(BEARER)])

    @app.get("/v1/about", tags=["service"])
    def about() -> About:
        """Describe the running service."""
        thresholds = gallery.thresholds if gallery is not None else model.thresholds
        own = gallery.own_thresholds() if gallery is not None else ()
        quantiles = model.calibration.coverage_quantiles if model.calibration is not None else {}
        return About(
            version=__version__,
            model=model.model_id,
            classes=len(model.classes),
            embedding_size=model.embedding_size,
            channels=model.preprocessing.channels,
            size=model.preprocessing.size,
            dark=float(np.mean(model.preprocessing.mean)) < DARK,
            coverages=[float(one) for one in quantiles],
            thresholds=[_without_size(one) if one in own else one for one in thresholds],
            far=thresholds.default_far if far is None else far,
            strangers=STRANGERS if strangers is None else strangers,
            gallery=gallery is not None,
            built_in=built_in,
            by_pairs=far is not None and strangers is None,
        )

    @app.get("/healthz", tags=["service"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """Report that the service is up, and that its gallery is where it was; 503 if not."""
        if gallery is not None:
            gallery.register.backend.check()
        return "ok"

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(generate_latest(numbers.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/plotly.js", include_in_schema=False)
    def plotly() -> Response:
        # Sent from its file, a part at a time: of whoever reads slowly, only that part is in memory.
        script = Path(str(resources.files("plotly"))) / "package_data" / "plotly.min.js"
        return FileResponse(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    @app.get("/tokens.css", include_in_schema=False)
    def tokens() -> FileResponse:
        return FileResponse(TOKENS)

    @app.api_route("/v1/{rest:path}", methods=METHODS, include_in_schema=False)
    def unknown(request: Request) -> None:
        """Say which methods a path has, if there is one."""
        allowed = sorted(
            method.upper()
            for path, methods in app.openapi()["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path)
            for method in (*methods, *(["head"] if "get" in methods else []))
        )
        if allowed:
            names = ", ".join(allowed)
            raise HTTPException(405, f"{request.method} is not for this address: use {names}.", {"Allow": names})
        raise HTTPException(404, "There is nothing at this address; /v1/openapi.json lists what there is.")

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    _explain(app, gallery)
    app.add_middleware(Guard, access=access, limits=limits, numbers=numbers)
    if access.origins:
        # Outside of the guard, so that a page of another site may read its refusals, too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Allow", "Retry-After", "WWW-Authenticate"],
        )
    if access.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(with_mapped(access.proxies)))
    return app


def _without_size(threshold: Threshold) -> Threshold:
    """Return a threshold of a gallery as those without a token may see it: not by how many identities."""
    return threshold.model_copy(update={"measured_on": OWN_IMAGES})


def _explain(app: FastAPI, gallery: Gallery | None) -> None:
    """Answer every error with one sentence in ``detail``."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        kind = request.headers.get("content-type", "")
        if first["loc"][:2] == ("body", "file"):
            if not kind.startswith("multipart/form-data"):
                return JSONResponse({"detail": f"{FORM} This body is {kind.split(';')[0] or 'empty'}."}, 415)
            fields = request.scope.get(FIELDS, [])
            if first["type"] == "missing" and fields:
                listed = ", ".join(map(repr, fields[:5]))
                return JSONResponse({"detail": f"The form has no field 'file'; it has {listed}. {FORM}"}, 422)
            if first["type"] == "missing":
                return JSONResponse({"detail": f"The form is empty, or was cut off. {FORM}"}, 422)
            if first["type"] != "missing":
                return JSONResponse({"detail": f"'file' holds a text and no picture. {FORM} Mind the @."}, 422)
        if first["type"] == "json_invalid":
            return JSONResponse({"detail": f"The body is not JSON: {first['ctx']['error']}."}, 422)
        location = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return JSONResponse({"detail": f"{location}: {first['msg']}."}, 422)

    @app.exception_handler(SteradianError)
    async def known(_: Request, error: SteradianError) -> JSONResponse:
        if isinstance(error, StorageError):
            LOG.error(json.dumps({"error": str(error)}))
        status = 503 if isinstance(error, StorageError) else 404 if isinstance(error, NotFoundError) else 422
        return JSONResponse({"detail": told(error, gallery)}, status)
