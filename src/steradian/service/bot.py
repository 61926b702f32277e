"""A chat bot on Telegram: send a photo and hear what or who is on it; ``/enroll NAME`` adds the next photos."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

from telegram import Message, Update
from telegram.error import TelegramError
from telegram.ext import Application, ApplicationBuilder, CommandHandler, ContextTypes, MessageHandler, filters

from steradian.data.decode import decode
from steradian.errors import MissingError, SteradianError
from steradian.gallery import Decision, Gallery
from steradian.gallery.store import checked_name
from steradian.models.recognizer import Recognizer

PIXELS, BYTES = 50_000_000, 20 * 2**20
HELP = (
    "Send me a photo and I say what is on it.\n"
    "/enroll NAME, and the photos that follow are NAME, until /done.\n"
    "/forget NAME removes somebody."
)

Context = ContextTypes.DEFAULT_TYPE


class Bot:
    """The answers; Telegram's library does the talking.

    Args:
        allowed: numbers of the users that are answered.
        gallery: of the same model; None: photos are only classified.
        far: false-accept rate of identification.
    """

    def __init__(
        self, model: Recognizer, gallery: Gallery | None, allowed: Collection[int], far: float | None, top: int = 5
    ) -> None:
        self._model, self._gallery, self._far, self._top = model, gallery, far, top
        self._allowed = frozenset(allowed)

    def application(self, token: str, address: str | None = None) -> Application[Any, Any, Any, Any, Any, Any]:
        """The bot of ``token``; ``address``: of another server that speaks Telegram's protocol."""
        builder = ApplicationBuilder().token(token)
        if address is not None:
            builder = builder.base_url(f"{address}/bot").base_file_url(f"{address}/file/bot")
        app = builder.build()
        app.add_handler(CommandHandler(["start", "help"], self._told(self._help)))
        app.add_handler(CommandHandler("enroll", self._told(self._enroll)))
        app.add_handler(CommandHandler("done", self._told(self._done)))
        app.add_handler(CommandHandler("forget", self._told(self._forget)))
        app.add_handler(MessageHandler(filters.PHOTO | filters.Document.IMAGE, self._told(self._photo)))
        return app

    def _told(self, answer: Callable[[Message, Context], Any]) -> Callable[[Update, Context], Any]:
        """``answer`` for those who are allowed; what goes wrong becomes a sentence."""

        async def handle(update: Update, context: Context) -> None:
            message, user = update.message, update.effective_user
            if message is None or user is None:
                return
            if user.id not in self._allowed:
                words = f"I do not know you. Whoever runs me may add your number: {user.id}."
            else:
                try:
                    words = await answer(message, context)
                except SteradianError as error:
                    words = f"That did not work: {error}"
                except TelegramError as error:
                    words = f"Telegram did not give me that: {error}"
            await message.reply_text(words[:4000])

        return handle

    async def _help(self, message: Message, context: Context) -> str:
        return HELP

    async def _enroll(self, message: Message, context: Context) -> str:
        if self._gallery is None:
            return "I run without a gallery, so nobody can be enrolled."
        name = checked_name(" ".join(context.args or []))
        _remembered(context)["name"] = name
        return f"Now send photos of {name}, and /done at the end."

    async def _done(self, message: Message, context: Context) -> str:
        name = _remembered(context).pop("name", None)
        if name is None or self._gallery is None:
            return "Nothing was begun."
        try:
            count = self._gallery.store.identity(name)[1].images
        except MissingError:
            return f"No photo of {name} came, so {name} is not enrolled."
        return f"{name} is enrolled by {count} photo(s)."

    async def _forget(self, message: Message, context: Context) -> str:
        if self._gallery is None:
            return "I run without a gallery."
        name = " ".join(context.args or [])
        await asyncio.to_thread(self._gallery.remove, name)
        return f"{name} is no longer enrolled."

    async def _photo(self, message: Message, context: Context) -> str:
        sent = message.photo[-1] if message.photo else message.document
        if sent is None or (sent.file_size or 0) > BYTES:
            return f"That is larger than {BYTES // 2**20} MB."
        content = bytes(await (await sent.get_file()).download_as_bytearray())
        name = _remembered(context).get("name")
        return await asyncio.to_thread(self._answer, content, name)

    def _answer(self, content: bytes, name: str | None) -> str:
        """What to say of a photo, or after it was enrolled as ``name``."""
        pixels = decode(content, self._model.preprocessing.shortest, PIXELS)
        if name is not None and self._gallery is not None:
            done = self._gallery.enroll(name, [pixels])
            count = self._gallery.store.identity(name)[1].images
            return "\n".join([f"{name} has {count} photo(s) now. More, or /done?", *done.hints])
        found = self._model.classify([pixels], top=self._top)[0]
        lines = [f"{label}: {probability:.1%}" for label, probability in found.ranking]
        if found.candidates is not None:
            lines.append(f"{found.coverage:.0%} sure that it is one of: {', '.join(found.candidates[:10])}.")
        if self._gallery is not None and len(self._gallery):
            lines.insert(0, in_words(self._gallery.identify([pixels], far=self._far)[0]) + "\n")
        return "\n".join(lines)


def _remembered(context: Context) -> dict[Any, Any]:
    """What is kept of a user while the bot runs."""
    if context.user_data is None:
        raise RuntimeError("a message of nobody")
    return context.user_data


class _WithoutToken(logging.Filter):
    """What the library logs, in one line without its traceback, which may hold the token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self._token, "…"), ()
        record.exc_info = record.exc_text = None
        return True


def log_to_stderr(token: str) -> None:
    """Send what the library warns of to standard error, without the token."""
    handler, log = logging.StreamHandler(), logging.getLogger("telegram")
    handler.addFilter(_WithoutToken(token))
    log.addHandler(handler)
    log.propagate = False


def in_words(found: Decision) -> str:
    """A decision as a sentence."""
    if found.decision == "match":
        return f"This is {found.label} (cosine {found.similarity:.2f})."
    if found.decision == "ambiguous":
        return f"This is {found.matches[0].label} or {found.matches[1].label}; I cannot tell them apart."
    return "Nobody enrolled is on it."
