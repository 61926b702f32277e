"""Which files are images, which are not read and why, and what the systems of cameras and servers leave behind."""

from __future__ import annotations

import functools
import importlib.util
import os
import stat
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from steradian.extras import install

SUFFIXES = frozenset(
    {
        ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfi", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpg",
        ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
"""Files with these suffixes are treated as images."""

HEIC = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
"""Suffixes of pictures of phones that need the extra ``heic``."""

SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
        "lost+found", "recycler", "system volume information",
    }
)  # fmt: skip
"""Folders, in lower case, in which file servers and operating systems keep thumbnails and removed files."""

HIDDEN = "hidden, or left behind by a system"
OTHER = "of a kind that is no image"
LINKS = "linked, and links inside an archive are not followed"
UNUSED = "a label of no image"
LOOPS = "linked to a folder above"
BROKEN = "linked to nothing"

NAMED = 3
"""Examples of each reason."""


@functools.cache
def reads_heic() -> bool:
    """Return whether the package that reads HEIC is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def why_not(name: str) -> str:
    """Return why a file of this path, relative to its source, is passed over; empty for an image."""
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts) or any(part.lower() in SYSTEM_FOLDERS for part in path.parts):
        return HIDDEN
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or (suffix in HEIC and reads_heic()):
        return ""
    return f"in HEIC, which needs: {install('heic')}" if suffix in HEIC else OTHER


@dataclass
class PassedOver:
    """The files of a source that are not read, by reason."""

    _found: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    def add(self, reason: str, name: str) -> None:
        """Count a file."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._found.setdefault(reason, [])
        if len(examples) < NAMED:
            examples.append(name)

    def takes(self, name: str) -> bool:
        """Return whether a file is an image; count it otherwise."""
        reason = why_not(name)
        if reason:
            self.add(reason, name)
        return not reason

    def folder(self, name: str) -> None:
        """Note a folder, which may hold no image."""
        if why_not(f"{name}/image.png") != HIDDEN:
            self._folders.add(name)

    def empty(self, images: Iterable[str]) -> list[str]:
        """Return the noted folders without any of the ``images`` below; of folders within each other, the outer one."""
        filled = {"."}
        for name in images:
            parent = PurePosixPath(name).parent
            while str(parent) not in filled:
                filled.add(str(parent))
                parent = parent.parent
        bare = self._folders - filled
        return sorted(name for name in bare if str(PurePosixPath(name).parent) in filled)

    def notes(self, source: str, images: Iterable[str] = ()) -> tuple[str, ...]:
        """Return a sentence about all of them and one about folders without any of the ``images``, or nothing."""
        empty = self.empty(images)
        if not empty:
            return self._files(source)
        named = f"{', '.join(empty[:NAMED])}{', …' if len(empty) > NAMED else ''}"
        words = "folder holds" if len(empty) == 1 else "folders hold"
        return (*self._files(source), f"{source}: {len(empty):,} {words} no image: {named}.")

    def _files(self, source: str) -> tuple[str, ...]:
        if not self._counts:
            return ()
        reasons = [
            f"{count:,} {reason} ({', '.join(self._found[reason])}{', …' if count > NAMED else ''})"
            for reason, count in sorted(self._counts.items(), key=lambda one: -one[1])
        ]
        total = sum(self._counts.values())
        return (f"{source}: {total:,} {'file is' if total == 1 else 'files are'} passed over: {'; '.join(reasons)}.",)


def files_below(folder: Path, passed: PassedOver) -> list[tuple[str, int]]:
    """Return the path in ``folder`` and the size in bytes of each image below it; links are followed, loops are not."""
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
                if passed.takes(name):
                    found.append((name, status.st_size))
            else:
                passed.add(OTHER, name)
    return found


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def members_of(archive: zipfile.ZipFile, passed: PassedOver) -> list[zipfile.ZipInfo]:
    """Return the images of a zip."""
    members = []
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
            members.append(info)
    return members


def forward(name: str) -> str:
    """Return the path of a zip's member with slashes: some programs of Windows write backslashes only."""
    return name.replace("\\", "/") if "\\" in name and "/" not in name else name
