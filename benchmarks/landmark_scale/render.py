"""Draw every character with at least three real designs in Debian's fonts as 32 x 32 gray images.

    apt-get install $(tail -n +2 fonts.csv | cut -d, -f3 | sort -u)
    python benchmarks/landmark_scale/render.py --out characters.npz

A class is a character. A design counts when its picture is not blank, is not shared by many other characters of its
font (as a placeholder box is), and differs from every earlier design. Ideographs whose code point is divisible by 7 are
reserved: they are left out of training and are the unseen characters.
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
"""Least sum |a - b| / (sum a + sum b): two weights of one family stay below it, two designs have .3 to .6."""

Picture = NDArray[np.uint8]


def is_ideograph(character: str) -> bool:
    """Return whether its Unicode name is that of a unified or compatibility ideograph, Tangut or Nushu."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "TANGUT IDEOGRAPH", "NUSHU CHAR"))


def is_reserved(code: int) -> bool:
    """Return whether the character, or its NFKC form, is an ideograph whose code point is divisible by 7."""
    forms = {chr(code), unicodedata.normalize("NFKC", chr(code))}
    return any(len(form) == 1 and ord(form) % 7 == 0 and is_ideograph(form) for form in forms)


def is_drawn(code: int) -> bool:
    """Return whether it is a letter, number, symbol or punctuation, not a mark, space, control or private use."""
    return unicodedata.category(chr(code))[0] in "LNSP"


def characters_of(path: Path, index: int) -> list[int]:
    """Return the code points that the font maps."""
    font = TTCollection(str(path)).fonts[index] if path.suffix == ".ttc" else TTFont(str(path), lazy=True)
    return sorted(code for code in font.getBestCmap() if is_drawn(code))


def draw(font: ImageFont.FreeTypeFont, character: str) -> Picture | None:
    """Draw the glyph, centered by its ink and scaled to fit; return None if it is missing or unsuitable."""
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
    """Draw every character of a font, without pictures that four or more characters share."""
    font = ImageFont.truetype(str(path), 56, index=index, layout_engine=ImageFont.Layout.BASIC)
    pictures: dict[int, Picture] = {}
    shared: dict[bytes, list[int]] = defaultdict(list)
    for code in characters_of(path, index):
        try:
            picture = draw(font, chr(code))
        except OSError:
            continue
        if picture is not None:
            pictures[code] = picture
            shared[picture.tobytes()].append(code)
    boxes = {code for codes in shared.values() if len(codes) >= 4 for code in codes}
    return {code: picture for code, picture in pictures.items() if code not in boxes}


def differs(picture: Picture, others: list[Picture]) -> bool:
    """Return whether ``picture`` differs enough from all ``others`` to count as a design."""
    ink = picture.astype(np.int32)
    return all(np.abs(ink - other).sum() >= LEAST_DIFFERENCE * (int(ink.sum()) + int(other.sum())) for other in others)


def collect() -> dict[int, dict[str, Picture]]:
    """Return character -> family -> picture for designs that differ, in the order of ``fonts.csv``."""
    chars: dict[int, dict[str, Picture]] = defaultdict(dict)
    with (Path(__file__).parent / "fonts.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = FONTS / row["file"]
        if not path.is_file():
            raise SystemExit(f"{path} is missing. Install it: apt-get install {row['package']}")
        pictures = pictures_of(path, int(row["index"]))
        for code, picture in pictures.items():
            designs = chars[code]
            if row["family"] not in designs and differs(picture, list(designs.values())):
                designs[row["family"]] = picture
        print(f"{row['design']:20s} {path.name:36s} {len(pictures):7,} characters", flush=True)
    return chars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--least", type=int, default=3, help="least number of designs per class")
    args = parser.parse_args()
    chars = collect()
    selected: list[int] = []
    seen: set[bytes] = set()
    for code in sorted(chars):
        designs = chars[code]
        # If half of the pictures already occur under another code point (a wide letter, another script), skip this one.
        copies = sum(picture.tobytes() in seen for picture in designs.values())
        if len(designs) >= args.least and 2 * copies < len(designs):
            selected.append(code)
            seen.update(picture.tobytes() for picture in designs.values())
    families = sorted({family for code in selected for family in chars[code]})
    rows = [(code, families.index(family), picture) for code in selected for family, picture in chars[code].items()]
    codes = np.array([row[0] for row in rows], dtype=np.int64)
    np.savez(
        args.out,
        pixels=np.stack([row[2] for row in rows])[:, None],
        codes=codes,
        designs=np.array([row[1] for row in rows], dtype=np.int16),
        reserved=np.array([is_reserved(int(code)) for code in codes]),
        families=np.array(families),
    )
    reserved = sum(map(is_reserved, selected))
    print(
        f"{len(selected) - reserved:,} classes with {args.least} designs or more, {reserved:,} reserved, "
        f"{len(rows):,} images"
    )


if __name__ == "__main__":
    main()
