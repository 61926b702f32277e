"""Define the entry point: register the commands and turn errors into messages and exit codes.

This module does not import torch, so that ``--help`` is fast.
"""

from __future__ import annotations

import functools
import io
import logging
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
    find,
    gallery,
    identify,
    losses,
    measure,
    serve,
    train,
    transfer,
    verify,
)
from steradian.cli.interrupts import COMMAND_RUNS
from steradian.cli.output import say
from steradian.errors import SteradianError
from steradian.version import __version__

app = typer.Typer(
    name="steradian",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train image recognizers on the hypersphere and compare techniques on your own images.

Examples:


  steradian compare digits                    all techniques, one report
  steradian compare photos/ --seeds 3         your folder, one subfolder per class
  steradian train photos/ --out runs/photos   train one recognizer
  steradian transfer cifar10                  measure how general each layer is
  steradian classify runs/photos cat.jpg      classify an image
  steradian enroll runs/photos people/        enroll new identities, without training
  steradian identify runs/photos who.jpg      identify one of them, or answer "unknown"
  steradian serve --demo                      draw and name symbols in the browser, then recognize them
""",
)


RESUMABLE: tuple[Callable[..., None], ...] = (compare.compare, train.train, transfer.transfer)
"""Commands that train, and resume when they are run again."""


class _Stopped(SteradianError):
    exit_code = 130


def _with_interrupt_message(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` with Ctrl-C turned into a `_Stopped` error; typer alone would exit without a message."""
    resumable = command in (*RESUMABLE, enroll.enroll, embed.embed)
    advice = "Run the same command again to resume." if resumable else ""

    @functools.wraps(command)
    def run(*arguments: object, **options: object) -> None:
        try:
            COMMAND_RUNS.set()
            command(*arguments, **options)
        except KeyboardInterrupt as interrupt:
            raise _Stopped(advice) from interrupt
        finally:
            COMMAND_RUNS.clear()

    return run


def _summary(command: Callable[..., None]) -> str:
    """Return the first sentence of the help: typer would cut it."""
    return (command.__doc__ or "").partition("\n")[0].partition(". ")[0].rstrip(".")


_COMMANDS: tuple[Callable[..., None], ...] = (
    *RESUMABLE,
    evaluate.evaluate,
    measure.measure,
    classify.classify,
    enroll.enroll,
    identify.identify,
    verify.verify,
    find.find,
    serve.serve,
    bot.bot,
    embed.embed,
    export.export,
    data.data,
    losses.losses,
)
for _function in _COMMANDS:
    app.command(_function.__name__, short_help=_summary(_function))(_with_interrupt_message(_function))
for _command in gallery.app.registered_commands:
    if _command.callback is not None:
        _command.short_help = _summary(_command.callback)
        _command.callback = _with_interrupt_message(_command.callback)
app.add_typer(gallery.app, name="gallery", short_help=gallery.SUMMARY)


def _version(requested: bool) -> None:
    if requested:
        print(f"steradian {__version__}")
        raise typer.Exit


START = """steradian: train once, then name anything you enroll, and say "unknown" when it is not there.

  steradian data sample --copy-to photos/   200 photographs to begin with
  steradian train photos/                   a recognizer of your own folders of pictures
  steradian classify runs/photos PICTURE    which kind is it?
  steradian enroll runs/photos FOLDER       new things from a few pictures each, without training
  steradian identify runs/photos PICTURE    who or what is it, or is it unknown?

All commands: steradian --help"""


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Handle the options before the command."""
    if context.invoked_subcommand is None:
        print(START)


def _show_warning(message: Warning | str, category: type[Warning], *location: object, **_: object) -> None:
    """Print a warning as one line, without its source location."""
    say(f"! {message}")


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    # It tells about its own cache where a home cannot be written; pictures are the same without one.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
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
    except OSError as error:
        say(f"Error: {error}")
        sys.exit(1)
