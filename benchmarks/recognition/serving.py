"""Compare the service with a loop in one process that decodes the same JPEGs and runs the same session.

    python benchmarks/recognition/serving.py --record benchmarks/recognition/serving.json

Both sides run EfficientNet-Lite0 (weights of `steradian[weights]`) on ONNX Runtime over the same 224 px photographs, in
turns: the loop (one decoding thread per core, batches of 32), and the service with 32 connections that each send the
next photograph when the last is answered. Clients run in their own process, whose CPU seconds are reported separately,
because on one machine they compete with the service for cores. Each turn also measures the time of a single request
and the response times at half of that load, when requests arrive at random moments. The record adds the response time
of an ideal queue, in which each core serves one request after another.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import io
import json
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from steradian import Recognizer
from steradian.data.decode import decode
from steradian.data.preprocessing import Preprocessing
from steradian.models import ModelSpec
from steradian.models.pretrained import PretrainedWeights
from steradian.training.resources import environment

ENCODER, SIDE, CLIENTS, BATCH = "tf_efficientnet_lite0", 224, 32, 32


def photographs(count: int) -> list[bytes]:
    """Return crops of two real photographs as JPEG files."""
    generator, images, photos = np.random.default_rng(0), load_sample_images().images, []
    for number in range(count):
        image = images[number % len(images)]
        top, left = (int(generator.integers(size - SIDE)) for size in image.shape[:2])
        buffer = io.BytesIO()
        Image.fromarray(image[top : top + SIDE, left : left + SIDE]).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    return photos


def model() -> Recognizer:
    """Return a recognizer with pretrained weights; its head is not used."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(SIDE, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0, "bicubic")
    spec = ModelSpec(
        encoder=ENCODER,
        embedding_size=256,
        loss="normface",
        loss_options={},
        classes=("a", "b"),
        preprocessing=preprocessing,
    )
    recognizer = Recognizer(spec)
    PretrainedWeights.open(ENCODER, "package").fill(recognizer.encoder)
    return recognizer.eval()


def in_process(recognizer: Recognizer, photos: list[bytes]) -> dict[str, float]:
    """Return the photographs per second of the loop and its CPU milliseconds per photograph."""
    preprocessing, cores = recognizer.preprocessing, os.cpu_count() or 1
    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cores) as pool:
        decoded = pool.map(lambda photo: preprocessing.square(decode(photo, preprocessing.shortest)), photos)
        batch: list[np.ndarray] = []
        for pixels in decoded:
            batch.append(pixels)
            if len(batch) == BATCH:
                recognizer.embed(torch.from_numpy(np.stack(batch)))
                batch = []
    return rates(len(photos), time.perf_counter() - started, time.process_time() - used)


def rates(count: int, seconds: float, cpu: float) -> dict[str, float]:
    return {"per_second": count / seconds, "cpu_ms": 1000 * cpu / count}


def request(photo: bytes) -> bytes:
    """Return the bytes of one request, built beforehand so that the cost of the client is not measured."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head + photo + b"\r\n--b--\r\n"
    lines = [
        b"POST /v1/embed HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Content-Type: multipart/form-data; boundary=b",
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(head.decode())
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(int(length[1]) if length else 0)


async def full_load(port: int, contents: list[bytes], clients: int) -> float:
    """Return the seconds until ``clients`` have answers to all ``contents``; each sends one request at a time."""
    remaining = iter(contents)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        for content in remaining:
            await ask(reader, writer, content)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - started


async def steady_load(port: int, contents: list[bytes], per_second: float) -> list[float]:
    """Return the response times of requests that arrive at random moments, without waiting for earlier answers."""
    generator, free, times = np.random.default_rng(1), asyncio.Queue(), []
    for _ in range(4 * CLIENTS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    async def one(content: bytes) -> None:
        started = time.perf_counter()
        reader, writer = await free.get()
        await ask(reader, writer, content)
        times.append(time.perf_counter() - started)
        free.put_nowait((reader, writer))

    tasks, moment = [], time.perf_counter()
    for content in contents:
        moment += generator.exponential(1 / per_second)
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(content)))
    await asyncio.gather(*tasks)
    return times


def ideal(service: float, per_second: float, servers: int, count: int = 100_000) -> float:
    """Return the 99th percentile in seconds of a queue in which each request takes a core for ``service`` seconds."""
    generator = np.random.default_rng(2)
    moment, free, times = 0.0, [0.0] * servers, np.empty(count)
    for number in range(count):
        moment += generator.exponential(1 / per_second)
        end = max(moment, heapq.heappop(free)) + service
        heapq.heappush(free, end)
        times[number] = end - moment
    return float(np.quantile(times, 0.99))


def client(load: str, port: int, photos: list[bytes], value: float, pipe: Any) -> None:
    """Run the clients in their own process and send (result, CPU seconds)."""
    contents = [request(photo) for photo in photos]
    used = time.process_time()
    work = full_load(port, contents, int(value)) if load == "full" else steady_load(port, contents, value)
    pipe.send((asyncio.run(work), time.process_time() - used))


def from_clients(load: str, port: int, photos: list[bytes], value: float) -> tuple[Any, float]:
    receiver, sender = multiprocessing.Pipe()
    process = multiprocessing.Process(target=client, args=(load, port, photos, value, sender))
    process.start()
    result = receiver.recv()
    process.join()
    return result


def cpu_of(process: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=640)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    photos, recognizer, cores = photographs(args.photos), model(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        recognizer.save(Path(scratch) / "model")
        arguments = ["serve", scratch, "--port", "0", "--rate", "0", "--no-log", "--runtime", args.runtime]
        server = subprocess.Popen([sys.executable, "-m", "steradian", *arguments], stdout=subprocess.PIPE, text=True)
        try:
            port = int(re.search(r":(\d+) ", server.stdout.readline() if server.stdout else "")[1])  # type: ignore[index]
            recognizer.accelerate(args.runtime)
            in_process(recognizer, photos[:64])
            from_clients("full", port, photos[:64], CLIENTS)
            loop, served, alone, tails, times = [], [], [], [], []
            for _ in range(args.turns):
                loop.append(in_process(recognizer, photos))
                before = cpu_of(server.pid)
                seconds, client_cpu = from_clients("full", port, photos, CLIENTS)
                measured = rates(len(photos), seconds, cpu_of(server.pid) - before)
                served.append({**measured, "client_cpu_ms": 1000 * client_cpu / len(photos)})
                alone.append(from_clients("full", port, photos[:100], 1)[0] / 100)
                latencies = from_clients("steady", port, photos, measured["per_second"] / 2)[0]
                tails.append(float(np.quantile(latencies, 0.99)))
                times += latencies
        finally:
            server.terminate()
            server.wait()
    ratios = [turn["per_second"] / loop_turn["per_second"] for turn, loop_turn in zip(served, loop, strict=True)]
    cpu = [loop_turn["cpu_ms"] / turn["cpu_ms"] for turn, loop_turn in zip(served, loop, strict=True)]
    half = statistics.median(turn["per_second"] for turn in served) / 2
    record = {
        **environment(),
        "cores": cores,
        "runtime": args.runtime,
        "photos": args.photos,
        "loop": {key: round(statistics.median(turn[key] for turn in loop), 2) for key in loop[0]},
        "served": {key: round(statistics.median(turn[key] for turn in served), 2) for key in served[0]},
        "throughput_ratio": [round(turn, 3) for turn in ratios],
        "throughput_ratio_median": round(statistics.median(ratios), 3),
        "cpu_ratio_median": round(statistics.median(cpu), 3),
        "one_request_ms": round(1000 * statistics.median(alone), 2),
        "half_load": {
            "per_second": round(half, 1),
            "median_ms": round(1000 * float(np.median(times)), 2),
            "p99_ms": round(1000 * float(np.quantile(times, 0.99)), 2),
            "p99_of_a_request_alone": [round(tail / turn, 2) for tail, turn in zip(tails, alone, strict=True)],
            "p99_ms_of_an_ideal_queue": round(1000 * ideal(1 / (2 * half) * cores, half, cores), 2),
        },
        "peak_mib_of_this_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
