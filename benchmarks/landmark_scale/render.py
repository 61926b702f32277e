"""Every character with at least three real designs, as 32 x 32 gray images, from Debian's fonts.

    apt-get install $(tail -n +2 fonts.csv | cut -d, -f3 | sort -u)
    python benchmarks/landmark_scale/render.py --out characters.npz

A class is a character. A design counts when its picture is there (no blank, no box), is not the picture of many other
characters of its font, and differs from every design taken before. Ideographs whose code point is divisible by 7 are
kept apart: no training sees them; they are the unseen characters.
"""

from __future__ import annotations

import argparse
import csv
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTCollection, TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 32
FONTS = Path("/usr/share/fonts")
LEAST_DIFFERENCE = 0.25
"""sum |a - b| / (sum a + sum b): two weights of one family stay below it, two designs are at .3 to .6."""

Picture = NDArray[np.uint8]


def is_ideograph(character: str) -> bool:
    """By its name: unified and compatibility ideographs, Tangut, Nushu."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "TANGUT IDEOGRAPH", "NUSHU CHAR"))


def is_reserved(code: int) -> bool:
    """Whether the character, or one that it is a form of, is an ideograph divisible by 7."""
    forms = {chr(code), unicodedata.normalize("NFKC", chr(code))}
    return any(len(form) == 1 and ord(form) % 7 == 0 and is_ideograph(form) for form in forms)


def is_drawn(code: int) -> bool:
    """Letters, numbers and symbols; no marks, spaces, controls or private use."""
    return unicodedata.category(chr(code))[0] in "LNSP"


def characters_of(path: Path, index: int) -> list[int]:
    """Code points that the font maps."""
    font = TTCollection(str(path)).fonts[index] if path.suffix == ".ttc" else TTFont(str(path), lazy=True)
    return sorted(code for code in font.getBestCmap() if is_drawn(code))


def draw(font: ImageFont.FreeTypeFont, character: str) -> Picture | None:
    """The glyph, centered by its ink and scaled to fit; None where there is none."""
    left, top, right, bottom = font.getbbox(character)
    if right - left < 2 or bottom - top < 2 or max(right - left, bottom - top) > 200:
        return None
    canvas = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), character, fill=255, font=font)
    factor = (SIDE - 2) / max(canvas.size)
    small = canvas.resize((max(1, round(canvas.width * factor)), max(1, round(canvas.height * factor))), Image.BOX)
    picture = Image.new("L", (SIDE, SIDE))
    picture.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels if pixels.max() >= 64 and int(pixels.sum()) >= 600 else None


def pictures_of(path: Path, index: int) -> dict[int, Picture]:
    """Every drawn character of a font, but for pictures that stand for many characters at once."""
    font = ImageFont.truetype(str(path), 56, index=index, layout_engine=ImageFont.Layout.BASIC)
    found: dict[int, Picture] = {}
    shared: dict[bytes, list[int]] = defaultdict(list)
    for code in characters_of(path, index):
        try:
            picture = draw(font, chr(code))
        except OSError:
            continue
        if picture is not None:
            found[code] = picture
            shared[picture.tobytes()].append(code)
    boxes = {code for codes in shared.values() if len(codes) >= 4 for code in codes}
    return {code: picture for code, picture in found.items() if code not in boxes}


def differs(picture: Picture, others: list[Picture]) -> bool:
    """Whether it is a design of its own beside ``others``."""
    own = picture.astype(np.int32)
    return all(np.abs(own - other).sum() >= LEAST_DIFFERENCE * (int(own.sum()) + int(other.sum())) for other in others)


def collect() -> dict[int, dict[str, Picture]]:
    """Character -> family -> picture, in the order of ``fonts.csv``, designs that differ only."""
    found: dict[int, dict[str, Picture]] = defaultdict(dict)
    with (Path(__file__).parent / "fonts.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = FONTS / row["file"]
        if not path.is_file():
            raise SystemExit(f"{path} is missing: apt-get install {row['package']}")
        pictures = pictures_of(path, int(row["index"]))
        for code, picture in pictures.items():
            designs = found[code]
            if row["family"] not in designs and differs(picture, list(designs.values())):
                designs[row["family"]] = picture
        print(f"{row['design']:20s} {path.name:36s} {len(pictures):7,} characters", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--least", type=int, default=3, help="designs of a class")
    chosen = parser.parse_args()
    found = collect()
    kept: list[int] = []
    seen: set[bytes] = set()
    for code in sorted(found):
        designs = found[code]
        # The same pictures under another code point (a wide letter, a letter of another script) are the same class.
        copies = sum(picture.tobytes() in seen for picture in designs.values())
        if len(designs) >= chosen.least and 2 * copies < len(designs):
            kept.append(code)
            seen.update(picture.tobytes() for picture in designs.values())
    families = sorted({family for code in kept for family in found[code]})
    rows = [(code, families.index(family), picture) for code in kept for family, picture in found[code].items()]
    codes = np.array([row[0] for row in rows], dtype=np.int64)
    np.savez(
        chosen.out,
        pixels=np.stack([row[2] for row in rows])[:, None],
        codes=codes,
        designs=np.array([row[1] for row in rows], dtype=np.int16),
        reserved=np.array([is_reserved(int(code)) for code in codes]),
        families=np.array(families),
    )
    reserved = sum(map(is_reserved, kept))
    print(
        f"{len(kept) - reserved:,} classes with {chosen.least} designs or more, {reserved:,} reserved, "
        f"{len(rows):,} images"
    )


if __name__ == "__main__":
    main()
