"""Telemetry: metrics for Prometheus, and a JSON log line for each request, without names or pictures."""

from __future__ import annotations

import json
import logging
import sys
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LOG = logging.getLogger("steradian.service")

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """The service's metrics, one set for each application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        routes = ("route", "method", "status")
        self.requests = Counter("steradian_requests", "Answered requests.", routes, registry=registry)
        summary = "Seconds from the first byte to the last."
        self.seconds = Histogram("steradian_request_seconds", summary, ("route",), registry=registry, buckets=SECONDS)
        self.batches = Histogram("steradian_batch_images", "Images per batch.", registry=registry, buckets=SIZES)
        self.waiting = Gauge("steradian_waiting_images", "Images that wait for the model.", registry=registry)
        self.decisions = Counter("steradian_decisions", "Decisions of identify.", ("decision",), registry=registry)
        self.refused = Counter("steradian_refused_images", "Files that could not be read.", registry=registry)


def log_to_stderr() -> None:
    """Send the lines of `log_request` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def log_request(route: str, method: str, status: int, seconds: float, received: int, client: str) -> None:
    """Log one line, with the route's pattern rather than its path, so that it contains no name."""
    if LOG.isEnabledFor(logging.INFO):
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": received,
            "client": client,
        }
        LOG.info(json.dumps(fields))
