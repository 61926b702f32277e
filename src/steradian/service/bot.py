"""Run a Telegram bot that names what or who is on a photo; ``/enroll NAME`` enrolls the next photos."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

from telegram import Message, Update
from telegram.error import TelegramError
from telegram.ext import Application, ApplicationBuilder, CommandHandler, ContextTypes, MessageHandler, filters

from steradian.data.decode import decode
from steradian.errors import NotFoundError, SteradianError
from steradian.gallery import Decision, Gallery
from steradian.gallery.records import checked_name
from steradian.models.recognizer import Recognizer

PIXELS, BYTES = 50_000_000, 20 * 2**20
HELP = (
    "Send me a photo, and I will say what is on it.\n"
    "/enroll NAME enrolls the photos that follow as NAME, until /done.\n"
    "/forget NAME removes NAME from the gallery."
)

Context = ContextTypes.DEFAULT_TYPE


class Bot:
    """Answer messages of the users ``allowed`` (ids), which Telegram's library receives and sends.

    Without a gallery, photos are only classified.
    """

    def __init__(
        self,
        model: Recognizer,
        gallery: Gallery | None,
        allowed: Collection[int],
        far: float | None = None,
        strangers: float | None = None,
        top: int = 5,
    ) -> None:
        self._model, self._gallery, self._far, self._strangers, self._top = model, gallery, far, strangers, top
        self._allowed = frozenset(allowed)

    def application(self, token: str, address: str | None = None) -> Application[Any, Any, Any, Any, Any, Any]:
        """Build the bot of ``token``; ``address``: another server with Telegram's protocol."""
        builder = ApplicationBuilder().token(token)
        if address is not None:
            builder = builder.base_url(f"{address}/bot").base_file_url(f"{address}/file/bot")
        app = builder.build()
        app.add_handler(CommandHandler(["start", "help"], self._for_allowed_users(self._help)))
        app.add_handler(CommandHandler("enroll", self._for_allowed_users(self._enroll)))
        app.add_handler(CommandHandler("done", self._for_allowed_users(self._done)))
        app.add_handler(CommandHandler("forget", self._for_allowed_users(self._forget)))
        app.add_handler(MessageHandler(filters.PHOTO | filters.Document.IMAGE, self._for_allowed_users(self._photo)))
        return app

    def _for_allowed_users(self, answer: Callable[[Message, Context], Any]) -> Callable[[Update, Context], Any]:
        """Wrap ``answer``: refuse other users, and turn errors into a sentence."""

        async def handle(update: Update, context: Context) -> None:
            message, user = update.message, update.effective_user
            if message is None or user is None:
                return
            if user.id not in self._allowed:
                reply = f"I do not know you. Ask whoever runs this bot to allow your user id: {user.id}."
            else:
                try:
                    reply = await answer(message, context)
                except SteradianError as error:
                    reply = f"That did not work: {error}"
                except TelegramError as error:
                    reply = f"Telegram reported an error: {error}"
            await message.reply_text(reply[:4000])

        return handle

    async def _help(self, message: Message, context: Context) -> str:
        return HELP

    async def _enroll(self, message: Message, context: Context) -> str:
        if self._gallery is None:
            return "I run without a gallery, so nobody can be enrolled."
        name = checked_name(" ".join(context.args or []))
        _user_state(context)["name"] = name
        return f"Now send photos of {name}, and /done at the end."

    async def _done(self, message: Message, context: Context) -> str:
        name = _user_state(context).pop("name", None)
        if name is None or self._gallery is None:
            return "No enrollment was started: send /enroll NAME first."
        try:
            count = self._gallery.register.identity(name)[1].images
        except NotFoundError:
            return f"No photo of {name} came, so {name} is not enrolled."
        return f"{name} is enrolled with {count} photo(s)."

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
        name = _user_state(context).get("name")
        return await asyncio.to_thread(self._answer, content, name)

    def _answer(self, content: bytes, name: str | None) -> str:
        """Return the reply to a photo, which is enrolled first if there is a ``name``."""
        pixels = decode(content, self._model.preprocessing.shortest, PIXELS)
        if name is not None and self._gallery is not None:
            result = self._gallery.enroll(name, [pixels])
            count = self._gallery.register.identity(name)[1].images
            return "\n".join([f"{name} has {count} photo(s) now. More, or /done?", *map(str, result.hints)])
        named = self._model.classify([pixels], top=self._top)[0]
        lines = [f"{label}: {probability:.1%}" for label, probability in named.ranking]
        if named.candidates is not None:
            lines.append(f"One of these, in {named.coverage:.0%} of cases: {', '.join(named.candidates[:10])}.")
        if self._gallery is not None and len(self._gallery):
            lines.insert(
                0, in_words(self._gallery.identify([pixels], strangers=self._strangers, far=self._far)[0]) + "\n"
            )
        return "\n".join(lines)


def _user_state(context: Context) -> dict[Any, Any]:
    """Return the data about a user, kept while the bot runs."""
    if context.user_data is None:
        raise RuntimeError("the message has no user")
    return context.user_data


class _WithoutToken(logging.Filter):
    """Shorten log records to one line, without the traceback, which may contain the token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self._token, "…"), ()
        record.exc_info = record.exc_text = None
        return True


def log_to_stderr(token: str) -> None:
    """Send the library's warnings to standard error, without the token."""
    handler, log = logging.StreamHandler(), logging.getLogger("telegram")
    handler.addFilter(_WithoutToken(token))
    log.addHandler(handler)
    log.propagate = False


def in_words(decision: Decision) -> str:
    """Return a decision as a sentence."""
    if decision.decision == "match":
        return f"This is {decision.label} (cosine {decision.similarity:.2f})."
    if decision.decision == "ambiguous":
        return f"This is {decision.matches[0].label} or {decision.matches[1].label}; I cannot tell them apart."
    return "Nobody enrolled is on this photo."
