"""The entry point: verbs, and one place where errors become messages and exit codes.

Nothing here imports torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import io
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from steradian.cli import (
    bot,
    classify,
    compare,
    data,
    embed,
    enroll,
    evaluate,
    export,
    gallery,
    identify,
    losses,
    serve,
    train,
    transfer,
    verify,
)
from steradian.cli.output import say
from steradian.errors import SteradianError
from steradian.version import __version__

app = typer.Typer(
    name="steradian",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train image recognizers on the hypersphere and compare techniques on your own images.

Examples:


  steradian compare digits                    all techniques, one report
  steradian compare photos/ --seeds 3         your folder, a class each
  steradian train photos/ --out runs/photos   one recognizer
  steradian transfer cifar10                  how general is each layer?
  steradian classify runs/photos cat.jpg      name an image
  steradian enroll runs/photos people/        add names that nobody trained on
  steradian identify runs/photos who.jpg      which of them, or "unknown"
  steradian serve --demo                      draw a symbol in the browser, name it, draw it again
""",
)


RESUMED: tuple[Callable[..., None], ...] = (compare.compare, train.train, transfer.transfer)
"""Verbs that train, and go on where they were stopped."""


class _Stopped(SteradianError):
    exit_code = 130


def _stoppable(verb: Callable[..., None]) -> Callable[..., None]:
    """``verb`` with Ctrl-C as an error of ours; typer would end on it without a word."""
    goes_on = verb in (*RESUMED, enroll.enroll, embed.embed)
    advice = "Run the same command again to go on from here." if goes_on else ""

    @functools.wraps(verb)
    def run(*arguments: object, **options: object) -> None:
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt as interrupt:
            raise _Stopped(advice) from interrupt

    return run


_VERBS: tuple[Callable[..., None], ...] = (
    *RESUMED,
    evaluate.evaluate,
    classify.classify,
    enroll.enroll,
    identify.identify,
    verify.verify,
    serve.serve,
    bot.bot,
    embed.embed,
    export.export,
    data.data,
    losses.losses,
)
for _verb in _VERBS:
    app.command(_verb.__name__)(_stoppable(_verb))
for _command in gallery.app.registered_commands:
    if _command.callback is not None:
        _command.callback = _stoppable(_command.callback)
app.add_typer(gallery.app, name="gallery")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"steradian {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the verb."""


def _show_warning(message: Warning | str, category: type[Warning], *where: object, **_: object) -> None:
    """A warning as one line, without the place in the code."""
    say(f"! {message}")


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        app()
    except _Stopped as stopped:
        say(f"Stopped. {stopped}".strip())
        sys.exit(stopped.exit_code)
    except SteradianError as error:
        say(f"Error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
