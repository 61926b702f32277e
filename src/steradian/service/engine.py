"""One model for all requests: decoding in a few threads, embedding in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from fastapi import HTTPException
from numpy.typing import NDArray

from steradian.data.pixels import available_cores
from steradian.models.recognizer import Recognizer
from steradian.service.batching import Batcher
from steradian.service.limits import Limits
from steradian.service.uploads import Decoded, Upload, decoded
from steradian.service.watching import Numbers

BATCH = 32

Result = TypeVar("Result")


class Engine:
    """Raw embeddings of uploads.

    Args:
        lanes: batches that run at the same time.

    Attributes:
        model: only read.
    """

    def __init__(self, model: Recognizer, limits: Limits, numbers: Numbers, lanes: int = 1) -> None:
        self.model = model.eval()
        self._limits, self._numbers = limits, numbers
        self._decoders = ThreadPoolExecutor(available_cores(), "decode")
        self._batcher = Batcher(self._embed, BATCH, lanes, numbers.batches.observe)
        self._waiting = 0
        numbers.waiting.set_function(lambda: float(self._waiting))

    async def stop(self) -> None:
        """End; what was asked is answered before."""
        await self._batcher.stop()
        self._decoders.shutdown()

    def _embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.model.embed(torch.from_numpy(pixels), normalize=False).numpy()

    async def embed(self, uploads: Sequence[Upload]) -> tuple[Decoded, NDArray[np.float32]]:
        """The readable ones of ``uploads`` and their raw embeddings float32 [N, D].

        Raises:
            HTTPException: not one can be read (422), too much to do (503), or too long (504).
        """
        if self._waiting and self._waiting + len(uploads) > self._limits.waiting:
            raise HTTPException(503, "Too many images wait already: try again soon.", {"Retry-After": "1"})
        given_up = threading.Event()
        self._waiting += len(uploads)
        try:
            return await asyncio.wait_for(self._embedded(uploads, given_up.is_set), self._limits.answer_seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(504, f"No answer within {self._limits.answer_seconds:g} seconds.") from error
        finally:
            # Whether it came to an end or the client went away: what is not decoded yet need not be.
            given_up.set()
            self._waiting -= len(uploads)

    async def in_decoder(self, work: Callable[..., Result], *given: Any) -> Result:
        """Run ``work`` where images are decoded, so that no more of them are at a time than there are cores."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, *given)

    async def _embedded(
        self, uploads: Sequence[Upload], given_up: Callable[[], bool]
    ) -> tuple[Decoded, NDArray[np.float32]]:
        found = await self.in_decoder(decoded, uploads, self.model.preprocessing, self._limits.pixels, given_up)
        self._numbers.refused.inc(len(found.failures))
        if not found.names:
            words = "; ".join(f"{one.image}: {one.reason}" for one in found.failures)
            raise HTTPException(422, f"No image can be read: {words or 'no file came'}.")
        return found, await self._batcher.submit(found.pixels)
