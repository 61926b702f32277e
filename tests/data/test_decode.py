"""Every kind of image file that people have."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from steradian.data import decode
from steradian.errors import DataError

PHOTO = Image.fromarray(load_sample_images().images[0]).resize((80, 60))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_and_gray_keep_their_pixels() -> None:
    np.testing.assert_array_equal(decode(saved(PHOTO, "PNG")), np.asarray(PHOTO))
    gray = PHOTO.convert("L")
    np.testing.assert_array_equal(decode(saved(gray, "PNG")), np.asarray(gray))


def test_sixteen_bit_gray_is_scaled_to_eight() -> None:
    wide = np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257
    found = decode(saved(Image.fromarray(wide), "PNG"))
    np.testing.assert_array_equal(found, np.asarray(PHOTO.convert("L")))
    found = decode(saved(Image.fromarray(wide), "TIFF"))
    np.testing.assert_array_equal(found, np.asarray(PHOTO.convert("L")))


def test_float_samples() -> None:
    share = np.asarray(PHOTO.convert("L")).astype(np.float32) / 255
    np.testing.assert_array_equal(decode(saved(Image.fromarray(share), "TIFF")), np.asarray(PHOTO.convert("L")))


def test_cmyk_palette_and_one_bit() -> None:
    assert decode(saved(PHOTO.convert("CMYK"), "JPEG")).shape == (60, 80, 3)
    found = decode(saved(PHOTO.convert("P"), "GIF"))
    assert found.shape == (60, 80, 3)
    assert np.abs(found.astype(int) - np.asarray(PHOTO).astype(int)).mean() < 25
    assert set(np.unique(decode(saved(PHOTO.convert("1"), "PNG")))) <= {0, 255}


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (decode(saved(clear, "PNG")) == 255).all()
    assert (decode(saved(clear, "WEBP", lossless=True)) == 255).all()
    gray = Image.new("LA", (4, 4), (0, 0))
    assert (decode(saved(gray, "PNG")) == 255).all()


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    found = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert found[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6  # shown turned by a quarter
    turned = decode(saved(PHOTO, "JPEG", exif=exif, quality=95))
    assert turned.shape == (80, 60, 3)
    straight = np.asarray(PHOTO.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(turned.astype(int) - straight).mean() < 10


def test_jpeg_may_be_decoded_smaller_but_not_too_small() -> None:
    large = saved(PHOTO.resize((1600, 1200)), "JPEG")
    found = decode(large, shortest=64)
    assert 128 <= min(found.shape[:2]) < 1200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        saved(PHOTO, "PNG")[:200],
        saved(PHOTO, "JPEG")[:300],
        saved(PHOTO, "GIF")[:40],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "cut gif", "bare header"],
)
def test_damaged_files_are_data_errors(content: bytes) -> None:
    with pytest.raises(DataError):
        decode(content)


def test_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["steradian.data.decode"], "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="80 x 60 pixels"):
        decode(saved(PHOTO, "PNG"))


def test_bit_flips_never_escape(tmp_path: Path) -> None:
    """Flipped bits give pixels or a DataError, nothing else."""
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = np.frombuffer(saved(PHOTO, kind), dtype=np.uint8)
        for _ in range(40):
            broken = whole.copy()
            places = generator.integers(0, min(len(broken), 400), 6)
            broken[places] ^= generator.integers(1, 256, 6).astype(np.uint8)
            try:
                assert decode(broken.tobytes()).dtype == np.uint8
            except DataError:
                pass


def test_a_decoder_may_raise_anything_over_damaged_content() -> None:
    """Found by flipping bytes: Pillow raises a TypeError."""
    with pytest.raises(DataError):
        decode((Path(__file__).parent / "damaged.tiff").read_bytes())


def test_16_bits_become_8_as_rounding_does() -> None:
    from steradian.data.model_input import _to_8_bits

    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(_to_8_bits(samples), (samples / 257.0).round().astype(np.uint8))


def twelve_bits(samples: np.ndarray) -> bytes:
    """An uncompressed gray TIFF whose samples have 12 bits."""
    height, width = samples.shape
    packed = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[:, :, 4:]
    content = np.packbits(packed.reshape(height, -1), axis=1).tobytes()
    entries = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8 + 2 + 9 * 12 + 4)]
    entries += [(277, 3, 1), (278, 4, height), (279, 4, len(content))]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4) + content


def test_12_bits_have_a_scale_of_their_own() -> None:
    samples = np.arange(4096).reshape(64, 64)
    np.testing.assert_array_equal(decode(twelve_bits(samples)), np.round(samples * 255 / 4095).astype(np.uint8))
    dark = decode(twelve_bits(samples // 4))
    assert dark.max() == 64, "the scale does not follow the picture"


def test_large_pictures_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    from steradian.data import model_input

    generator = np.random.default_rng(0)
    deep = generator.integers(0, 65536, (37, 41)).astype(np.uint16)
    color = generator.integers(0, 256, (37, 41, 4)).astype(np.uint8)
    images = [Image.fromarray(deep), Image.fromarray(color), Image.fromarray(color[..., :3])]
    images += [images[2].quantize(16), images[2].convert("L"), images[2].convert("1"), images[2].convert("CMYK")]
    images[3].info["transparency"] = 3
    for image in images:
        whole = model_input.pixels_of(image.copy())
        monkeypatch.setattr(model_input, "STRIP", 100)
        np.testing.assert_array_equal(model_input.pixels_of(image.copy()), whole, err_msg=image.mode)
        monkeypatch.undo()


def test_a_set_that_is_nearly_black_is_told(tmp_path: Path) -> None:
    from steradian import data
    from steradian.data.inspection import inspect
    from steradian.data.sample import darkness, sample_images

    for number in range(4):
        samples = np.random.default_rng(number).integers(0, 4096, (30, 30)).astype(np.uint16)
        path = tmp_path / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(samples).save(path)
    images = data.open(tmp_path)
    assert sample_images(images).brightest == 16 and darkness(31) and not darkness(32)
    assert any("nearly black: no sample is above 16 of 255" in one for one in inspect(images).warnings)
