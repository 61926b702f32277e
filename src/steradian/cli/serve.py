"""Implement ``steradian serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli import completion
from steradian.cli.output import say
from steradian.cli.settings import GalleryFile, Strangers, check_paths, gallery_of
from steradian.errors import UsageError
from steradian.waiting import waiting

DEMO = "glyphs"

LANES = 2
"""Batches that run in parallel, so that a request need not wait for a whole batch that has just started."""


def serve(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Run or model folder, 'general' or 'glyphs' (built in).",
            metavar="[RUN]",
            autocompletion=completion.model_names,
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve the built-in model of drawn symbols with a temporary gallery.")
    ] = False,
    gallery: GalleryFile = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; --token is required unless it is this machine's own.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free port.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None, typer.Option(help="Token that allows reading and changing the gallery.", envvar="STERADIAN_TOKEN")
    ] = None,
    read_token: Annotated[
        str | None, typer.Option(help="Token that only allows reading.", envvar="STERADIAN_READ_TOKEN")
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(help="Address under which a proxy publishes the service, as https://example.com/faces."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Other site whose pages may use the service (CORS), as https://app.example.com. Repeatable."),
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy whose X-Forwarded-For names the client. Repeatable."),
    ] = None,
    strangers: Strangers = None,
    far: Annotated[
        float | None, typer.Option(help="False-accept rate of pairs for requests that give none, instead.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="Runtime: auto, openvino, onnxruntime, torch or compiled.")] = "auto",
    keep_pictures: Annotated[
        bool, typer.Option(help="Keep enrolled images next to the gallery, to show them and to re-embed them later.")
    ] = True,
    rate: Annotated[int, typer.Option(help="Most requests per minute from one client; 0: no limit.", min=0)] = 1200,
    log: Annotated[bool, typer.Option(help="Log each request as a line of JSON on standard error.")] = True,
) -> None:
    """Serve a model and a gallery over HTTP, with a web page. Press Ctrl-C to stop.

    Open the printed address in a browser. The HTTP API is described at /v1/openapi.json. On Ctrl-C, the service answers
    the requests that it has accepted, then exits.

    Examples:

    \b
      steradian serve --demo
      steradian serve runs/photos --gallery people.db --port 8080
      STERADIAN_TOKEN=$(openssl rand -hex 16) steradian serve runs/photos --host 0.0.0.0
      steradian serve runs/photos --public-url https://example.com/faces --trust-proxy 127.0.0.1
      curl -F file=@who.jpg 'http://127.0.0.1:8000/v1/identify?top=3'
    """
    check_paths(run)
    if gallery is not None and not str(gallery).startswith("milvus:") and not gallery.parent.is_dir():
        raise UsageError(f"The folder {gallery.parent} of the gallery does not exist: check the spelling.")
    import contextlib
    import tempfile

    from steradian.errors import InputError
    from steradian.extras import install, require

    # Before torch is imported, which takes a second.
    require("serve", "The service")
    import torch

    from steradian.gallery import Gallery
    from steradian.models.encoders import LIGHT
    from steradian.models.locations import is_name
    from steradian.models.recognizer import Recognizer
    from steradian.models.runtimes import RUNTIMES

    try:
        import python_multipart  # noqa: F401 - FastAPI imports it only when a route takes a form

        from steradian.service.access import Access
        from steradian.service.app import build_app
        from steradian.service.limits import Limits
        from steradian.service.public_url import network_of, origin_of
        from steradian.service.public_url import public_url as parsed_url
        from steradian.service.run import listen
        from steradian.service.run import run as serve_app
        from steradian.service.telemetry import log_to_stderr
    except ModuleNotFoundError as error:
        raise UsageError(f"The service needs {error.name}: {install('serve')}") from error

    if (run is None) != demo:
        raise UsageError("Name the RUN to serve, or --demo for the built-in model of drawn symbols; not both.")
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"Unknown runtime {runtime!r}. Choose auto or one of {', '.join(RUNTIMES)}.")
    access = Access(
        token,
        read_token,
        host,
        parsed_url(public_url) if public_url is not None else None,
        tuple(map(origin_of, origin or ())),
        tuple(map(network_of, trust_proxy or ())),
    )
    name = DEMO if run is None else run
    listener = listen(host, port)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        if demo and gallery is None:
            gallery_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="steradian-"))) / "gallery.db"
            say("This demonstration deletes its gallery when it stops. To keep the gallery, add --gallery FILE.")
        else:
            gallery_path = gallery_of(name, gallery)
        model = Recognizer.load(name)
        lanes = min(LANES, torch.get_num_threads())
        # Parallel batches share the cores evenly. Threads that start from now on inherit this number.
        torch.set_num_threads(torch.get_num_threads() // lanes)
        if runtime != "auto" or model.spec.encoder not in LIGHT:
            with waiting("preparing the encoder"):
                model.accelerate(runtime, lanes)  # type: ignore[arg-type]
        opened = stack.enter_context(Gallery.open(gallery_path, model))
        opened.pictures.sweep(source for _, source in opened.register.backend.sources().values())
        try:
            opened.check_rates(strangers, far)
        except InputError as error:
            if far is not None or strangers is not None:
                raise
            say(f"! Requests must give a threshold: {error}")
        limits = Limits(requests_per_minute=rate)
        app = build_app(
            model,
            opened,
            access=access,
            limits=limits,
            keep_pictures=keep_pictures,
            far=far,
            strangers=strangers,
            built_in=is_name(name),
            lanes=lanes,
        )
        if log:
            log_to_stderr()
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        banner = f"Serving {name} at {address} (press Ctrl-C to stop)"
        all_answered = serve_app(app, listener, limits.connections, lambda: print(banner, flush=True), access.proxies)
    unanswered = "Stopped before all accepted requests were answered."
    say("Stopped; all accepted requests were answered." if all_answered else unanswered)
