"""Read the files in which dlib stores trained models, without dlib.

The format has no names and hardly any marks: whoever reads it must know what comes next. Integers are packed (one byte
with sign and length, then the bytes, lowest first), floats are two integers (mantissa and exponent), text is a length
and its bytes, and a tensor is its four sizes and float32 values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.errors import StorageError
from steradian.files import explained

LIMIT = 256 * 2**20
"""Largest file that is read, in bytes; the largest published one has 100 MB."""

LONGEST_NAME = 64
SIGN, LENGTH, RESERVED = 0x80, 0x0F, 0x70
"""The bits of the first byte of an integer."""
STEPS = bytes(1 + (first & LENGTH) for first in range(256))
"""First byte of an integer -> how many bytes further the next one begins."""

NOT_FINITE = 32000
"""From this exponent on a float is infinite or not a number."""

FIELDS = {
    "loss_metric_2": "ff",
    "input_rgb_image_sized": "fffii",
    "con_4": "tiiiiiiiaaffff",
    "affine_": "taai",
    "relu_": "",
    "max_pool_2": "iiiiii",
    "avg_pool_2": "iiiiii",
    "add_prev_": "",
    "fc_2": "iitaaiffff",
}
"""Name of a layer -> its fields: t tensor, i integer, f float, a the sizes of a part of the tensor."""


@dataclass(frozen=True)
class DlibLayer:
    """A layer of a stored network.

    Attributes:
        kind: a key of `FIELDS`.
        integers: sizes, strides, paddings, in the order of the file; the sizes of parts of the tensor are among them.
        floats: means of the input, or factors of the learning rate.
        values: all weights of the layer in one row; empty without weights.
    """

    kind: str
    integers: tuple[int, ...]
    floats: tuple[float, ...]
    values: NDArray[np.float32]


class DlibFile:
    """The content of a file, read from front to back. Every problem is a `StorageError` that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained("read", path):
            size = path.stat().st_size
            if size > LIMIT:
                raise StorageError(f"{path} has {size:,} bytes; at most {LIMIT:,} were expected. Is it the right file?")
            self._content = path.read_bytes()
        self._position = 0

    def error(self, problem: str) -> StorageError:
        """Return the error for content that is not what was expected."""
        size = len(self._content)
        where = f" (before byte {self._position:,} of {size:,})" if self._position < size else ""
        return StorageError(
            f"{self.path} is damaged or not the expected file of dlib: {problem}{where}. Copy or download it again."
        )

    def integer(self) -> int:
        """Read one integer of at most 8 bytes."""
        first = self._bytes(1)[0]
        if first & RESERVED or not 1 <= first & LENGTH <= 8:
            raise self.error(f"an integer was expected, but it begins with {first:#04x}")
        value = int.from_bytes(self._bytes(first & LENGTH), "little")
        return -value if first & SIGN else value

    def floating(self) -> float:
        """Read one float."""
        mantissa, exponent = self.integer(), self.integer()
        try:
            return math.ldexp(mantissa, exponent if exponent < NOT_FINITE else 10**6)
        except OverflowError as error:
            raise self.error(f"{mantissa} x 2^{exponent} is not a finite number") from error

    def name(self) -> str:
        """Read a short ASCII text."""
        length = self.integer()
        if not 0 <= length <= LONGEST_NAME:
            raise self.error(f"a name of at most {LONGEST_NAME} characters was expected, but it has {length}")
        return self._bytes(length).decode("ascii", "backslashreplace")

    def expect(self, value: int, meaning: str) -> None:
        """Read an integer that must be ``value``; ``meaning`` is the subject of the message."""
        if (read := self.integer()) != value:
            raise self.error(f"{meaning} should be {value}, but is {read}")

    def tensor(self) -> NDArray[np.float32]:
        """Read a tensor as one row. Its sizes are compared with the bytes that are left, before anything is made."""
        self.expect(2, "the version of a tensor")
        sizes = [self.integer() for _ in range(4)]
        left = len(self._content) - self._position
        if min(sizes) < 0 or (bytes_needed := 4 * math.prod(sizes)) > left:
            raise self.error(f"a tensor of {' x '.join(map(str, sizes))} floats does not fit the {left:,} bytes left")
        values = np.frombuffer(self._bytes(bytes_needed), dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.error("a tensor holds values that are not finite")
        return values

    def flags(self, count: int) -> None:
        """Skip ``count`` truth values, stored as the characters 0 and 1."""
        if not set(flags := self._bytes(count)) <= set(b"01"):
            raise self.error(f"{count} characters 0 or 1 were expected, but they are {flags!r}")

    def end(self) -> None:
        """Check that everything was read."""
        if left := len(self._content) - self._position:
            raise self.error(f"{left:,} bytes follow where the end was expected")

    def _bytes(self, count: int) -> bytes:
        piece = self._content[self._position : self._position + count]
        if len(piece) < count:
            raise self.error(f"it ends where {count:,} more bytes were expected")
        self._position += count
        return piece


def read_network(path: Path) -> list[DlibLayer]:
    """Read a network with a loss: the input, then its layers in the order of computation.

    dlib writes a version for every layer, from the output to the input: 2 for a layer, 1 for a mark to which a shortcut
    refers, and 3 for the first layer, together with the input. Then come the layers themselves, in the order of
    computation, each followed by gradients and outputs, which are empty in a published file.

    Raises:
        StorageError: the file is damaged, is not a network, or has layers that are not in `FIELDS`.
    """
    file = DlibFile(path)
    file.expect(1, "the version of the loss")
    if (loss := _layer(file)).kind != "loss_metric_2":
        raise file.error(f"the loss of an embedding was expected, but it is {loss.kind!r}")
    later = 0
    while (version := file.integer()) != 3:
        if version not in (1, 2):
            raise file.error(f"the version of a layer should be 1, 2 or 3, but is {version}")
        later += version - 1
    layers = [_layer(file), _layer(file)]
    _skip_state(file, tensors=3)
    file.expect(1, "the number of copies of a sample")
    for _ in range(later):
        layers.append(_layer(file))
        _skip_state(file, tensors=3)
    file.end()
    return layers


def _layer(file: DlibFile) -> DlibLayer:
    kind = file.name()
    if kind not in FIELDS:
        raise file.error(f"a layer was expected ({', '.join(FIELDS)}), but its name is {kind!r}")
    integers: list[int] = []
    floats: list[float] = []
    values = np.empty(0, dtype=np.float32)
    for field in FIELDS[kind]:
        if field == "t":
            values = file.tensor()
        elif field == "f":
            floats.append(file.floating())
        elif field == "i":
            integers.append(file.integer())
        else:
            file.expect(1, "the version of a part of a tensor")
            integers += [file.integer() for _ in range(4)]
    return DlibLayer(kind, tuple(integers), tuple(floats), values)


def _skip_state(file: DlibFile, tensors: int) -> None:
    """Skip what training left behind: three truth values, and gradients and outputs."""
    file.flags(3)
    for _ in range(tensors):
        file.tensor()
