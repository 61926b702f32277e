"""``steradian serve``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import say
from steradian.cli.places import GalleryFile, gallery_of

DEMO, DEMO_FAR = "glyphs", 0.01

LANES = 2
"""Batches at a time: nobody waits for the whole of one that has just begun."""


def serve(
    run: Annotated[
        str | None, typer.Argument(help="Run or model folder, or 'glyphs' (drawn symbols).", metavar="[RUN]")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="The built-in model of drawn symbols, and a gallery that is thrown away.")
    ] = False,
    gallery: GalleryFile = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None, typer.Option(help="Needed for whatever reads or changes the gallery.", envvar="STERADIAN_TOKEN")
    ] = None,
    read_token: Annotated[
        str | None, typer.Option(help="Enough for what only reads it.", envvar="STERADIAN_READ_TOKEN")
    ] = None,
    far: Annotated[float | None, typer.Option(help="False-accept rate of questions that name none.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, torch or compiled.")] = "auto",
    keep_pictures: Annotated[
        bool, typer.Option(help="Keep enrolled pictures beside the gallery, to show and to embed them anew.")
    ] = True,
    rate: Annotated[int, typer.Option(help="Requests a minute of one client; 0: any number.", min=0)] = 1200,
    log: Annotated[bool, typer.Option(help="A line of JSON for each request on standard error.")] = True,
) -> None:
    """Put a model and a gallery behind HTTP, with a page for people. Ctrl-C ends it when all is answered.

    Open the printed address in a browser; programs find the routes described at /v1/openapi.json.

    Examples:

    \b
      steradian serve --demo
      steradian serve runs/photos --gallery people.db --port 8080
      STERADIAN_TOKEN=$(openssl rand -hex 16) steradian serve runs/photos --host 0.0.0.0
      curl -F file=@who.jpg 'http://127.0.0.1:8000/v1/identify?top=3'
    """
    import contextlib
    import tempfile

    import torch

    from steradian.errors import InputError, UsageError
    from steradian.gallery import Gallery
    from steradian.models.calibration import FAR
    from steradian.models.encoders import OWN
    from steradian.models.recognizer import Recognizer
    from steradian.models.runtimes import RUNTIMES

    try:
        import python_multipart  # noqa: F401 - FastAPI asks for it only when a route takes a form

        from steradian.service.access import Access
        from steradian.service.app import build_app
        from steradian.service.limits import Limits
        from steradian.service.run import listen
        from steradian.service.run import run as serve_app
        from steradian.service.watching import log_to_stderr
    except ModuleNotFoundError as error:
        raise UsageError(f"The service needs {error.name}: pip install 'steradian[serve]'.") from error

    if (run is None) != demo:
        raise UsageError("Name the RUN to serve, or --demo for the built-in model of drawn symbols.")
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"There is no runtime {runtime!r}: choose auto or one of {', '.join(RUNTIMES)}.")
    access, name = Access(token, read_token, host), DEMO if run is None else run
    place = listen(host, port)
    with contextlib.ExitStack() as stack:
        stack.callback(place.close)
        if demo and gallery is None:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="steradian-"))) / "gallery.db"
            say("What is enrolled in this demonstration is forgotten at its end; to keep it, name a --gallery FILE.")
        else:
            file = gallery_of(name, gallery)
        model = Recognizer.load(name)
        lanes = min(LANES, torch.get_num_threads())
        # Each batch at a time has its share of the cores; threads that begin from now on take this number over.
        torch.set_num_threads(torch.get_num_threads() // lanes)
        if runtime != "auto" or model.spec.encoder not in OWN:
            model.accelerate(runtime, lanes)  # type: ignore[arg-type]
        opened = stack.enter_context(Gallery.open(file, model))
        opened.pictures.sweep(source for _, source in opened.store.sources().values())
        usual = DEMO_FAR if demo and far is None else far
        try:
            taken = opened.threshold(usual).far
            if usual is None and taken != FAR:
                say(
                    f"! There is no threshold for a false-accept rate of {FAR:g}: questions take the one for {taken:g}."
                )
        except InputError as error:
            if far is not None:
                raise
            say(f"! Questions must name a threshold or another rate: {error}")
        limits = Limits(requests_per_minute=rate)
        app = build_app(
            model, opened, access=access, limits=limits, keep_pictures=keep_pictures, far=usual, lanes=lanes
        )
        if log:
            log_to_stderr()
        address = f"http://{f'[{host}]' if ':' in host else host}:{place.getsockname()[1]}"
        words = f"Serving {name} at {address} (Ctrl-C ends)"
        in_time = serve_app(app, place, limits.connections, lambda: print(words, flush=True))
    say("Ended; everything that was accepted was answered." if in_time else "Ended before everything was answered.")
