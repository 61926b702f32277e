"""Implement ``steradian bot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import say
from steradian.cli.settings import NAME, Far, GalleryFile, Run, Strangers, check_paths


def bot(
    run: Run,
    allow: Annotated[list[int], typer.Option(help="Telegram user id that may use the bot. Repeatable.")],
    token: Annotated[str, typer.Option(help="Bot token from @BotFather.", envvar="STERADIAN_BOT_TOKEN")],
    gallery: GalleryFile = None,
    strangers: Strangers = None,
    far: Far = None,
    address: Annotated[
        str | None, typer.Option(help="Address of another server that speaks Telegram's protocol.", metavar="URL")
    ] = None,
) -> None:
    """Answer photos on Telegram with ranked classes and the gallery's match. Press Ctrl-C to stop.

    Users who are not allowed get their user id as the reply, so that you can add it with --allow.

    Examples:

    \b
      STERADIAN_BOT_TOKEN=123:abc steradian bot runs/dogs --allow 4711
      steradian bot runs/photos --gallery people.db --allow 4711 --allow 4712 --token 123:abc
    """
    check_paths(run)
    from steradian.errors import UsageError
    from steradian.extras import install, require

    require("bot", "The bot")
    from steradian.gallery import Gallery
    from steradian.models.recognizer import Recognizer

    try:
        from telegram.error import InvalidToken, TelegramError

        from steradian.service.bot import Bot, log_to_stderr
    except ModuleNotFoundError as error:
        raise UsageError(f"The bot needs python-telegram-bot: {install('bot')}") from error

    model = Recognizer.load(run)
    gallery_path = gallery if gallery is not None else Path(run) / NAME
    # Without --gallery and without RUN/gallery.db, the bot only classifies photos.
    opened = Gallery.open(gallery_path, model) if gallery is not None or gallery_path.is_file() else None
    log_to_stderr(token)
    try:
        if opened is not None:
            opened.check_rates(strangers, far)
        app = Bot(model, opened, allow, far, strangers).application(token, address)
        say("Listening on Telegram (press Ctrl-C to stop).")
        app.run_polling(bootstrap_retries=2)
    except InvalidToken as error:
        raise UsageError("Telegram does not know this token: get a valid one from @BotFather.") from error
    except TelegramError as error:
        raise UsageError(f"Cannot reach Telegram ({error}). Check the network connection.") from error
    finally:
        if opened is not None:
            opened.close()
