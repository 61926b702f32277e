"""Run a Telegram bot that names what or who is on a photo; ``/enroll NAME`` enrolls the next photos.

In a private chat every message gets an answer. In a group only photos and commands of its own users do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from telegram import Message, Update
from telegram.constants import ChatType
from telegram.error import TelegramError
from telegram.ext import Application, ApplicationBuilder, CommandHandler, ContextTypes, MessageHandler, filters

from steradian.data.decode import decode
from steradian.data.model_input import Pixels
from steradian.errors import DataError, NotFoundError, SteradianError, StorageError
from steradian.gallery import Decision, Gallery
from steradian.gallery.enrolling import check_quality
from steradian.gallery.photos import RegionAnswer, identify_photo, marked
from steradian.gallery.records import checked_name
from steradian.models.recognizer import Recognizer
from steradian.plots.regions import drawn
from steradian.service.refusals import told

LOG = logging.getLogger("steradian.bot")

PIXELS, BYTES = 50_000_000, 20 * 2**20
HELP = (
    "Send me a photo, and I will say what is on it.\n"
    "/enroll NAME enrolls the photos that follow as NAME, until /done. A photo with this caption is enrolled at once.\n"
    "/forget NAME removes NAME from the gallery."
)
ENROLL, OTHER_COMMANDS = "/enroll", ("/done", "/forget", "/start", "/help")
LONGEST_TEXT, LONGEST_CAPTION, MOST_UPRIGHT = 4000, 1024, 5
"""Most characters that Telegram takes of a message, and below a photo; height of a photo by its width."""

ALBUMS = 1000
"""Most albums whose caption is remembered: only one photo of an album has it."""

Context = ContextTypes.DEFAULT_TYPE


async def _send(message: Message, reply: Reply) -> None:
    """Send a reply: its words below the picture if they fit, and alone if Telegram refuses the picture."""
    words = reply.text
    if reply.picture is not None:
        fits = len(words.encode("utf-16-le")) // 2 <= LONGEST_CAPTION
        try:
            await message.reply_photo(reply.picture, words if fits else None)
        except TelegramError as error:
            LOG.warning("a marked picture was not sent: %s", error)
        else:
            words = "" if fits else words
    if words:
        await message.reply_text(words[:LONGEST_TEXT])


def _addressee(command: str) -> str:
    """Return the bot that a command is addressed to in lower case, as in /enroll@name_of_a_bot; empty for none."""
    first = (command.split() or [""])[0]
    return first.partition("@")[2].lower() if first.startswith("/") else ""


@dataclass(frozen=True)
class Asked:
    """A message of an allowed user.

    Attributes:
        place: the chat and the user.
        words: what follows a command.
    """

    message: Message
    place: tuple[int, int]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """What the bot says, and a PNG or JPEG that it sends with it."""

    text: str
    picture: bytes | None = None


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
        # By chat and user, so that what was started in one chat takes no photo of another.
        self._enrolling: dict[tuple[int, int], str] = {}
        self._albums: OrderedDict[str, str] = OrderedDict()

    def application(self, token: str, address: str | None = None) -> Application[Any, Any, Any, Any, Any, Any]:
        """Build the bot of ``token``; ``address``: another server with Telegram's protocol."""
        builder = ApplicationBuilder().token(token)
        if address is not None:
            builder = builder.base_url(f"{address}/bot").base_file_url(f"{address}/file/bot")
        app = builder.build()
        # A message that is edited has been answered before.
        new, private = filters.UpdateType.MESSAGE, filters.ChatType.PRIVATE
        answers = {"start": self._help, "help": self._help, "enroll": self._enroll, "done": self._done}
        for command, answer in {**answers, "forget": self._forget}.items():
            app.add_handler(CommandHandler(command, self._for_allowed_users(answer), new))
        picture = filters.PHOTO | filters.Document.IMAGE | (filters.Document.ALL & private)
        app.add_handler(MessageHandler(picture & new, self._for_allowed_users(self._photo)))
        app.add_handler(MessageHandler(private & new, self._for_allowed_users(self._other)))
        app.add_handler(MessageHandler(private & ~new, self._for_allowed_users(self._edited)))
        app.add_handler(MessageHandler(filters.COMMAND & new, self._for_allowed_users(self._addressed)))
        return app

    def _for_allowed_users(self, answer: Callable[[Asked], Any]) -> Callable[[Update, Context], Any]:
        """Wrap ``answer``: refuse other users, and turn errors into a sentence."""

        async def handle(update: Update, context: Context) -> None:
            message, user = update.effective_message, update.effective_user
            if message is None or user is None:
                return
            if user.id in self._allowed:
                reply = await self._reply(answer, Asked(message, (message.chat_id, user.id), tuple(context.args or ())))
            elif message.chat.type == ChatType.PRIVATE:
                reply = Reply(f"I do not know you. Ask whoever runs this bot to allow your user id: {user.id}.")
            else:
                # In a group, strangers talk to each other.
                return
            await _send(message, reply)

        return handle

    async def _reply(self, answer: Callable[[Asked], Any], asked: Asked) -> Reply:
        try:
            said = await answer(asked)
            return said if isinstance(said, Reply) else Reply(said)
        except TelegramError as error:
            return Reply(f"Telegram reported an error: {error}")
        except SteradianError as error:
            if isinstance(error, StorageError):
                LOG.error("%s", error)
            return Reply(f"That did not work: {told(error, self._gallery)}")
        except Exception as error:  # noqa: BLE001 - users are never left without an answer
            LOG.error("unexpected: %s: %s", type(error).__name__, error)
            return Reply("Something failed here, and the log of the bot says what. Try another photo.")

    async def _help(self, asked: Asked) -> str:
        return HELP

    async def _other(self, asked: Asked) -> str:
        """Answer what is neither a photo nor a known command."""
        return f"That is no photo and no command that I know.\n{HELP}"

    async def _edited(self, asked: Asked) -> str:
        return "I do not read changes of a message. Send it again."

    async def _addressed(self, asked: Asked) -> str:
        """Answer an unknown command in a group only if it names this bot: others may be there, too."""
        text = asked.message.text or ""
        return await self._other(asked) if _addressee(text) == asked.message.get_bot().username.lower() else ""

    async def _enroll(self, asked: Asked) -> str:
        if self._gallery is None:
            return "I run without a gallery, so nobody can be enrolled."
        if not asked.words:
            return "Say who it is: /enroll NAME."
        name = self._enrolling[asked.place] = checked_name(" ".join(asked.words))
        return f"Now send photos of {name}, and /done at the end."

    async def _done(self, asked: Asked) -> str:
        name = self._enrolling.pop(asked.place, None)
        if name is None or self._gallery is None:
            return "No enrollment was started here: send /enroll NAME first."
        try:
            count = self._gallery.register.identity(name)[1].images
        except NotFoundError:
            return f"No photo of {name} came, so {name} is not enrolled."
        return f"{name} is enrolled with {count} photo(s)."

    async def _forget(self, asked: Asked) -> str:
        if self._gallery is None:
            return "I run without a gallery."
        if not asked.words:
            return "Say who: /forget NAME."
        name = " ".join(asked.words)
        await asyncio.to_thread(self._gallery.remove, name)
        return f"{name} is no longer enrolled."

    async def _photo(self, asked: Asked) -> Reply | str:
        message = asked.message
        sent = message.photo[-1] if message.photo else message.document
        if sent is None or (sent.file_size or 0) > BYTES:
            return f"That is larger than {BYTES // 2**20} MB."
        words = (message.caption or "").split()
        command = words[0].lower().partition("@")[0] if words else ""
        for_me = command and _addressee(words[0]) in ("", message.get_bot().username.lower())
        if for_me and command in OTHER_COMMANDS:
            return f"Send {command} as a message of its own. Below a photo I read only /enroll NAME."
        if for_me and command == ENROLL and len(words) == 1:
            return "Say who it is: /enroll NAME."
        name = self._named_by_caption(message, words[1:] if for_me and command == ENROLL else [])
        if name is not None and self._gallery is None:
            return "I run without a gallery, so nobody can be enrolled."
        content = bytes(await (await sent.get_file()).download_as_bytearray())
        return await asyncio.to_thread(self._answer, content, name or self._enrolling.get(asked.place))

    def _named_by_caption(self, message: Message, words: Sequence[str]) -> str | None:
        """Return the name that a photo is enrolled under by the ``words`` of its caption, or by those of its album."""
        album = message.media_group_id
        if not words:
            return self._albums.get(album) if album is not None else None
        checked = checked_name(" ".join(words))
        if album is not None:
            self._albums[album] = checked
            while len(self._albums) > ALBUMS:
                self._albums.popitem(last=False)
        return checked

    def _answer(self, content: bytes, name: str | None) -> Reply:
        """Return the reply to a photo, which is enrolled first if there is a ``name``."""
        pixels = decode(content, self._model.preprocessing.shortest, PIXELS)
        if name is not None and self._gallery is not None:
            if self._model.preprocessing.finds:
                self._check(pixels, name)
            result = self._gallery.enroll(name, [pixels])
            count = self._gallery.register.identity(name)[1].images
            return Reply("\n".join([f"{name} has {count} photo(s) now. More, or /done?", *map(str, result.hints)]))
        if self._model.preprocessing.finds:
            return self._regions(pixels)
        named = self._model.classify([pixels], top=self._top)[0]
        lines = [f"{label}: {probability:.1%}" for label, probability in named.ranking]
        if named.candidates is not None:
            listed = ", ".join(named.candidates[:10]) + (", …" if len(named.candidates) > 10 else "")
            lines.append(f"One of: {listed}. The true class is in such a list {named.coverage:.0%} of the time.")
        if self._gallery is not None and len(self._gallery):
            lines.insert(
                0, in_words(self._gallery.identify([pixels], strangers=self._strangers, far=self._far)[0]) + "\n"
            )
        return Reply("\n".join(lines))

    def _check(self, pixels: Pixels, name: str) -> None:
        """Raise `DataError` unless a photo shows one region that is good enough to be enrolled."""
        found = self._model.preprocessing.cut_out(pixels)
        if len(found) > 1:
            raise DataError(f"there are {len(found)} on this photo, and which is {name}? Cut it to one of them.")
        ((_, quality, _),) = found
        check_quality(quality, self._model.gate)

    def _regions(self, pixels: Pixels) -> Reply:
        """Return a line for each region of a photo, from the left to the right, and the photo with boxes."""
        if self._gallery is None:
            return Reply("This model finds and compares, and needs a gallery to name anybody.")
        answers = identify_photo(self._gallery, pixels, strangers=self._strangers, far=self._far)
        if not answers:
            return Reply("Nothing was found on this photo.")
        lines = [f"{number}: {_named(one)}" for number, one in enumerate(answers, start=1)]
        height, width = pixels.shape[:2]
        # Telegram refuses pictures that are much longer than wide.
        picture = drawn([marked(pixels, answers)]) if height <= MOST_UPRIGHT * width else None
        return Reply("\n".join(["From the left to the right:", *lines]), picture)


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
    """Send warnings of the bot and of its library to standard error, without the token."""
    handler = logging.StreamHandler()
    handler.addFilter(_WithoutToken(token))
    for log in (LOG, logging.getLogger("telegram")):
        log.addHandler(handler)
        log.propagate = False


def _named(answer: RegionAnswer) -> str:
    """Return who is in a region, in a few words."""
    decision = answer.decision
    if decision.decision == "match":
        return f"{decision.label} (cosine {decision.similarity:.2f})"
    if decision.decision == "ambiguous":
        return f"{decision.matches[0].label} or {decision.matches[1].label}"
    if decision.decision == "poor":
        return "too poor to tell"
    return "nobody enrolled" if answer.elsewhere is None else f"like {answer.elsewhere}, who is another one here"


def in_words(decision: Decision) -> str:
    """Return a decision as a sentence."""
    if decision.decision == "match":
        return f"This is {decision.label} (cosine {decision.similarity:.2f})."
    if decision.decision == "ambiguous":
        return f"This is {decision.matches[0].label} or {decision.matches[1].label}; I cannot tell them apart."
    return "Nobody enrolled is on this photo."
