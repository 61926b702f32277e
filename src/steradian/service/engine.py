"""Run one model for all requests: decode in a few threads, embed in batches."""

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

from steradian.data.cores import available_cores
from steradian.data.preprocessing import Take
from steradian.errors import DataError
from steradian.finding.alone import Box
from steradian.models.recognizer import Recognizer
from steradian.service.batching import Batcher
from steradian.service.limits import Limits, PixelBudget
from steradian.service.telemetry import ServiceMetrics
from steradian.service.uploads import Decoded, Upload, alone, decoded

BATCH = 32

Result = TypeVar("Result")


class Engine:
    """Compute the raw embeddings of uploads by ``model``, in up to ``lanes`` batches at the same time."""

    def __init__(self, model: Recognizer, limits: Limits, numbers: ServiceMetrics, lanes: int = 1) -> None:
        self.model = model.eval()
        self._limits, self._numbers, self._budget = limits, numbers, PixelBudget(limits.together_pixels)
        self._decoders = ThreadPoolExecutor(available_cores(), "decode")
        self._batcher = Batcher(self._embed, BATCH, lanes, numbers.batches.observe)
        self._waiting = 0
        numbers.waiting.set_function(lambda: float(self._waiting))

    async def stop(self) -> None:
        """Stop after all requests are answered."""
        await self._batcher.stop()
        self._decoders.shutdown()

    def _embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.model.embed(torch.from_numpy(pixels), normalize=False)

    async def embed_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return raw embeddings float32 [N, D] of pixels [N, channels, size, size], which count as waiting images."""
        if self._waiting and self._waiting + len(pixels) > self._limits.waiting:
            raise HTTPException(503, "Too many images are waiting already: try again soon.", {"Retry-After": "1"})
        self._waiting += len(pixels)
        try:
            return await asyncio.wait_for(self._in_batches(pixels), self._limits.answer_seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(504, f"No answer within {self._limits.answer_seconds:g} seconds.") from error
        finally:
            self._waiting -= len(pixels)

    async def _in_batches(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        # One after the other, so that the questions of others come between.
        parts = [await self._batcher.submit(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return np.concatenate(parts)

    async def embed(self, uploads: Sequence[Upload], take: Take = "only") -> tuple[Decoded, NDArray[np.float32]]:
        """Return the readable ones of ``uploads`` and their raw embeddings float32 [N, D].

        ``take``: of a model with a finder, the regions of an upload that are meant; each is one of the N.
        """
        if self._waiting and self._waiting + len(uploads) > self._limits.waiting:
            raise HTTPException(503, "Too many images are waiting already: try again soon.", {"Retry-After": "1"})
        given_up = threading.Event()
        self._waiting += len(uploads)
        try:
            return await asyncio.wait_for(self._embedded(uploads, given_up.is_set, take), self._limits.answer_seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(504, f"No answer within {self._limits.answer_seconds:g} seconds.") from error
        finally:
            # After an answer, an error or a lost client, the remaining images need not be decoded.
            given_up.set()
            self._waiting -= len(uploads)

    async def alone(self, upload: Upload, box: Box) -> Upload:
        """Return the part of a picture that shows the region at ``box``; it counts as a waiting image.

        Raises `HTTPException` if there is no such region.
        """
        if self._waiting and self._waiting + 1 > self._limits.waiting:
            raise HTTPException(503, "Too many images are waiting already: try again soon.", {"Retry-After": "1"})
        self._waiting += 1
        try:
            cutting = self.in_decoder(alone, upload, box, self.model.preprocessing, self._limits, self._budget)
            return await asyncio.wait_for(cutting, self._limits.answer_seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(504, f"No answer within {self._limits.answer_seconds:g} seconds.") from error
        except DataError as error:
            raise HTTPException(422, f"{upload.name}: {error}.") from error
        finally:
            self._waiting -= 1

    async def in_decoder(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``work`` in a decoding thread, so that at most one image per core is decoded at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, *arguments)

    async def _embedded(
        self, uploads: Sequence[Upload], given_up: Callable[[], bool], take: Take
    ) -> tuple[Decoded, NDArray[np.float32]]:
        readable = await self.in_decoder(
            decoded, uploads, self.model.preprocessing, self._limits, self._budget, given_up, take
        )
        self._numbers.refused.inc(len(readable.failures))
        if not readable.names:
            reasons = "; ".join(f"{one.image}: {one.reason}" for one in readable.failures)
            raise HTTPException(422, f"No image can be read: {reasons or 'no file came'}.")
        return readable, await self._in_batches(readable.pixels)
