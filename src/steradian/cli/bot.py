"""``steradian bot``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import say
from steradian.cli.places import NAME, GalleryFile, Run


def bot(
    run: Run,
    allow: Annotated[list[int], typer.Option(help="Number of a Telegram user that is answered. Repeatable.")],
    token: Annotated[str, typer.Option(help="The token that @BotFather gave.", envvar="STERADIAN_BOT_TOKEN")],
    gallery: GalleryFile = None,
    far: Annotated[
        float | None,
        typer.Option(help="False-accept rate whose threshold is taken (default: 0.001, or the lowest there is)."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of another server that speaks Telegram's protocol.", metavar="URL")
    ] = None,
) -> None:
    """Answer photos on Telegram: ranked classes, and who of a gallery it is. Ctrl-C ends it.

    Whoever is not allowed is told their number, so that it can be added.

    Examples:

    \b
      STERADIAN_BOT_TOKEN=123:abc steradian bot runs/dogs --allow 4711
      steradian bot runs/photos --gallery people.db --allow 4711 --allow 4712 --token 123:abc
    """
    from steradian.errors import UsageError
    from steradian.gallery import Gallery
    from steradian.models.recognizer import Recognizer

    try:
        from telegram.error import InvalidToken, TelegramError

        from steradian.service.bot import Bot, log_to_stderr
    except ModuleNotFoundError as error:
        raise UsageError("The bot needs python-telegram-bot: pip install 'steradian[bot]'.") from error

    model = Recognizer.load(run)
    file = gallery if gallery is not None else Path(run) / NAME
    # Nobody asked for a gallery that is not there: then photos are only classified.
    opened = Gallery.open(file, model) if gallery is not None or file.is_file() else None
    log_to_stderr(token)
    try:
        if opened is not None:
            opened.threshold(far)
        app = Bot(model, opened, allow, far).application(token, address)
        say("Listening on Telegram (Ctrl-C ends).")
        app.run_polling(bootstrap_retries=2)
    except InvalidToken as error:
        raise UsageError("Telegram does not know this token: ask @BotFather for one.") from error
    except TelegramError as error:
        raise UsageError(f"Telegram cannot be reached ({error}). Is there a network?") from error
    finally:
        if opened is not None:
            opened.close()
