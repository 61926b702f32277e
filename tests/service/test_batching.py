"""Requests that come together share a batch, and each gets its own rows."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from steradian.service.batching import Batcher


def ask(*sizes: int, most: int = 8, fail: bool = False) -> tuple[list[int], list[object]]:
    """Submit images of ``sizes`` while the model is busy with a first one; the batches, and what each got."""
    seen: list[int] = []
    gate = threading.Event()

    def run(pixels: np.ndarray) -> np.ndarray:
        seen.append(len(pixels))
        if len(seen) == 1:
            gate.wait(10)
        elif fail:
            raise RuntimeError("broken")
        return pixels.astype(np.float32) * 2

    async def main() -> list[object]:
        batcher = Batcher(run, most, lanes=1)
        first = asyncio.ensure_future(batcher.submit(np.zeros((1, 1), np.uint8)))
        await asyncio.sleep(0.05)
        starts = np.cumsum([0, *sizes])
        tasks = [
            asyncio.ensure_future(batcher.submit(np.arange(start, start + size, dtype=np.uint8)[:, None]))
            for start, size in zip(starts, sizes, strict=False)
        ]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        await batcher.stop()
        return list(found)

    return seen, asyncio.run(main())


def test_what_waits_is_taken_together_and_given_back_apart() -> None:
    seen, found = ask(2, 3, 1, 5)
    assert seen == [1, 6, 5]
    starts = [0, 2, 5, 6]
    for start, size, rows in zip(starts, (2, 3, 1, 5), found, strict=True):
        np.testing.assert_array_equal(rows, 2.0 * np.arange(start, start + size)[:, None])


def test_a_request_larger_than_a_batch_is_one() -> None:
    assert ask(20, 1)[0] == [1, 20, 1]


def test_an_error_reaches_all_who_wait_for_it_and_nobody_else() -> None:
    seen, found = ask(1, 2, fail=True)
    assert seen == [1, 3] and [str(one) for one in found] == ["broken", "broken"]


def test_the_batch_that_runs_is_answered_when_it_is_stopped() -> None:
    async def main() -> np.ndarray:
        gate = threading.Event()

        def run(pixels: np.ndarray) -> np.ndarray:
            gate.wait(10)
            return pixels.astype(np.float32)

        batcher = Batcher(run, 8, lanes=1)
        asked = asyncio.ensure_future(batcher.submit(np.ones((2, 1), np.uint8)))
        await asyncio.sleep(0.05)
        ending = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.wait_for(ending, 10)
        return await asyncio.wait_for(asked, 10)

    np.testing.assert_array_equal(asyncio.run(main()), [[1.0], [1.0]])


def test_what_fails_before_the_model_fails_one_batch_alone() -> None:
    async def main() -> list[object]:
        failures = iter([RuntimeError("no size"), None])

        def observe(_: int) -> None:
            error = next(failures)
            if error is not None:
                raise error

        batcher = Batcher(lambda pixels: pixels.astype(np.float32), 8, 1, observe)
        found: list[object] = []
        for _ in range(2):
            asked = asyncio.wait_for(batcher.submit(np.ones((1, 1), np.uint8)), 10)
            found += await asyncio.gather(asked, return_exceptions=True)
        await batcher.stop()
        return found

    first, second = asyncio.run(main())
    assert str(first) == "no size" and isinstance(second, np.ndarray)


def test_who_gave_up_is_passed_over() -> None:
    async def main() -> list[int]:
        seen, gate = [], threading.Event()

        def run(pixels: np.ndarray) -> np.ndarray:
            seen.append(len(pixels))
            gate.wait(10)
            return pixels.astype(np.float32)

        batcher = Batcher(run, 8, lanes=1)
        first = asyncio.ensure_future(batcher.submit(np.zeros((1, 1), np.uint8)))
        await asyncio.sleep(0.05)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(batcher.submit(np.zeros((4, 1), np.uint8)), 0.05)
        gate.set()
        await first
        await batcher.submit(np.zeros((2, 1), np.uint8))
        await batcher.stop()
        return seen

    assert asyncio.run(main()) == [1, 2]


def test_lanes_run_at_the_same_time_and_share_what_waits() -> None:
    seen: list[int] = []
    gate = threading.Barrier(3)

    def run(pixels: np.ndarray) -> np.ndarray:
        if len(seen) <= 2:
            gate.wait(10)
        return pixels.astype(np.float32)

    async def main() -> list[np.ndarray]:
        batcher = Batcher(run, 8, lanes=2, observe=seen.append)
        asked = []
        for place in range(8):
            asked.append(asyncio.ensure_future(batcher.submit(np.full((1, 1), place, np.uint8))))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(gate.wait, 10)
        found = await asyncio.wait_for(asyncio.gather(*asked), 10)
        await asyncio.wait_for(batcher.stop(), 10)
        return list(found)

    assert [float(rows[0, 0]) for rows in asyncio.run(main())] == list(range(8))
    # Six wait behind the two that run: the lane that is free first takes half of them.
    assert seen[:3] == [1, 1, 3] and sum(seen) == 8


def test_a_lane_that_has_just_ended_is_begun_again() -> None:
    async def main() -> None:
        batcher = Batcher(lambda pixels: pixels.astype(np.float32), 8, lanes=1)

        async def one_after_another() -> None:
            for _ in range(50):
                await batcher.submit(np.ones((1, 1), np.uint8))

        await asyncio.wait_for(asyncio.gather(*(one_after_another() for _ in range(3))), 10)
        await batcher.stop()

    asyncio.run(main())


def test_a_lane_that_was_cancelled_hangs_nobody() -> None:
    async def main() -> None:
        gate = threading.Event()

        def run(pixels: np.ndarray) -> np.ndarray:
            gate.wait(10)
            return pixels.astype(np.float32)

        batcher = Batcher(run, 8, lanes=1)
        asked = asyncio.ensure_future(batcher.submit(np.ones((1, 1), np.uint8)))
        await asyncio.sleep(0.05)
        waits = asyncio.ensure_future(batcher.submit(np.ones((1, 1), np.uint8)))
        await asyncio.sleep(0.05)
        next(iter(batcher._running)).cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asked, 10)
        gate.set()
        assert (await asyncio.wait_for(waits, 10)).shape == (1, 1)
        assert (await asyncio.wait_for(batcher.submit(np.ones((1, 1), np.uint8)), 10)).shape == (1, 1)
        await asyncio.wait_for(batcher.stop(), 10)

    asyncio.run(main())
