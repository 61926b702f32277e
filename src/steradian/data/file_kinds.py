"""Which files are images, which are not read and why, and what the systems of cameras and servers leave behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from steradian.data.remote import is_remote
from steradian.errors import UsageError
from steradian.extras import install

SUFFIXES = frozenset(
    {
        ".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".icb", ".icns", ".ico", ".j2c", ".j2k", ".jfi", ".jfif",
        ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm",
        ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp",
    }
)  # fmt: skip
"""Files with these suffixes are treated as images."""

HEIC = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
"""Suffixes of pictures of phones that need the extra ``heic``."""

SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
        "lost+found", "recycler", "system volume information", "@appstore", "@sharebin", "__pycache__", "_gsdata_",
        "found.000", "msocache", "network trash folder", "temporary items", "~snapshot",
    }
)  # fmt: skip
"""Folders, in lower case, in which file servers and operating systems keep thumbnails and removed files."""

SYSTEM_ENDINGS = (".aplibrary", ".lrdata", ".lrlibrary", ".photolibrary", ".photoslibrary")
"""Endings, in lower case, of folders in which programs keep copies of photographs."""

ABOUT = frozenset({"authors", "changelog", "copying", "licence", "license", "notice", "readme"})
"""Names, in lower case and without suffix, of texts about a set of images; they are left out without a word."""

HIDDEN = "hidden, or left behind by a system"
OTHER = "of a kind that is no image"
LINKS = "linked, and links inside an archive are not followed"
REPLACED = "replaced by a later member of the same name"
COMPRESSED = "compressed: unpack it first"
UNUSED = "a label of no image"
LOOPS = "linked to a folder above"
BROKEN = "linked to nothing"

NAMED = 3
"""Examples of each reason."""


@functools.cache
def reads_heic() -> bool:
    """Return whether the package that reads HEIC is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def is_hidden(name: str) -> bool:
    """Return whether a path is hidden, or one that systems of cameras, servers and computers leave behind."""
    parts = [part.lower() for part in PurePosixPath(name).parts]
    return any(part.startswith(".") or part in SYSTEM_FOLDERS or part.endswith(SYSTEM_ENDINGS) for part in parts)


def why_not(name: str) -> str:
    """Return why a file of this path, relative to its source, is passed over; empty for an image."""
    if is_hidden(name):
        return HIDDEN
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES or (suffix in HEIC and reads_heic()):
        return ""
    return f"in HEIC, which needs: {install('heic')}" if suffix in HEIC else OTHER


@dataclass
class PassedOver:
    """The files of a source that are not read, by reason."""

    _found: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def add(self, reason: str, name: str) -> None:
        """Count a file."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._found.setdefault(reason, [])
        if len(examples) < NAMED:
            examples.append(name)

    def takes(self, name: str) -> bool:
        """Return whether a file is an image; count it otherwise."""
        reason = why_not(name)
        path = PurePosixPath(name.lower())
        if reason and not (path.stem in ABOUT and path.suffix in ("", ".md", ".rst", ".txt")):
            self.add(reason, name)
        return not reason

    def folder(self, name: str) -> None:
        """Note a folder, which may hold no image."""
        if why_not(f"{name}/image.png") != HIDDEN:
            self.folders.add(name)

    def empty(self, images: Iterable[str]) -> list[str]:
        """Return the noted folders without any of the ``images`` below; of folders within each other, the outer one."""
        filled = {"."}
        for name in images:
            parent = PurePosixPath(name).parent
            while str(parent) not in filled:
                filled.add(str(parent))
                parent = parent.parent
        bare = self.folders - filled
        return sorted(name for name in bare if str(PurePosixPath(name).parent) in filled)

    def notes(self, source: str, images: Iterable[str] = ()) -> tuple[str, ...]:
        """Return a sentence about all of them and one about folders without any of the ``images``, or nothing."""
        empty = self.empty(images)
        if not empty:
            return self.counted(source)
        named = f"{', '.join(empty[:NAMED])}{', …' if len(empty) > NAMED else ''}"
        words = "folder holds" if len(empty) == 1 else "folders hold"
        return (*self.counted(source), f"{source}: {len(empty):,} {words} no image: {named}.")

    def counted(self, source: str) -> tuple[str, ...]:
        """Return a sentence about all files that were passed over, or nothing."""
        if not self._counts:
            return ()
        reasons = [
            f"{count:,} {reason} ({', '.join(self._found[reason])}{', …' if count > NAMED else ''})"
            for reason, count in sorted(self._counts.items(), key=lambda one: -one[1])
        ]
        total = sum(self._counts.values())
        return (f"{source}: {total:,} {'file is' if total == 1 else 'files are'} passed over: {'; '.join(reasons)}.",)


def tables_in(folder: Path, suffix: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files below ``folder`` that end in ``suffix``, such as .tar, and sentences about all others.

    Raises:
        UsageError: there are images in folders, too, so that it cannot be told which of both is the set.
    """
    if is_remote(folder):
        return tuple(sorted(folder.rglob(f"*{suffix}"), key=str)), ()
    passed = PassedOver()
    images: list[str] = []

    def takes(name: str) -> bool:
        if name.lower().endswith(suffix) and not is_hidden(name):
            return True
        if name.lower().endswith((f"{suffix}.gz", f"{suffix}.bz2", f"{suffix}.xz", f"{suffix}.zst")):
            passed.add(COMPRESSED, name)
        elif passed.takes(name):
            images.append(name)
        return False

    found = sorted(name for name, _ in files_below(folder, passed, takes))
    if images:
        raise UsageError(
            f"{folder} holds both {suffix} files, such as {found[0]}, and images, such as {images[0]}. Name one of the "
            "files, or the folder of the images, so that nothing is left out."
        )
    return tuple(folder / name for name in found), passed.counted(str(folder))


def files_below(folder: Path, passed: PassedOver, takes: Callable[[str], bool] | None = None) -> list[tuple[str, int]]:
    """Return the path in ``folder`` and the size in bytes of each image below it; links are followed, loops are not.

    ``takes``: path -> whether a file is one; None: if it is an image.
    """
    takes = takes or passed.takes
    found: list[tuple[str, int]] = []
    left = [("", {os.path.realpath(folder)})]
    while left:
        prefix, above = left.pop()
        for entry in _entries(os.path.join(folder, prefix)):  # noqa: PTH118 - a Path each would take four times as long
            name = prefix + entry.name
            try:
                status = entry.stat()
            except OSError:
                passed.add(BROKEN, name)
                continue
            if stat.S_ISDIR(status.st_mode):
                place = os.path.realpath(entry.path) if entry.is_symlink() else ""
                if place in above:
                    passed.add(LOOPS, name)
                else:
                    passed.folder(name)
                    left.append((f"{name}/", above | {place or os.path.realpath(entry.path)}))
            elif stat.S_ISREG(status.st_mode):
                if takes(name):
                    found.append((name, status.st_size))
            else:
                passed.add(OTHER, name)
    return found


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def members_of(archive: zipfile.ZipFile, passed: PassedOver) -> list[zipfile.ZipInfo]:
    """Return the images of a zip."""
    # As programs do that unpack, the last of several members of one name is taken.
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        parent = (
            forward(info.filename).rstrip("/") if info.is_dir() else str(PurePosixPath(forward(info.filename)).parent)
        )
        if parent != ".":
            passed.folder(parent)
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            passed.add(LINKS, info.filename)
        elif passed.takes(forward(info.filename)):
            if forward(info.filename) in members:
                passed.add(REPLACED, info.filename)
            members[forward(info.filename)] = info
    return list(members.values())


def forward(name: str) -> str:
    """Return the path of a zip's member with slashes: some programs of Windows write backslashes only."""
    return name.replace("\\", "/") if "\\" in name and "/" not in name else name
