"""The arms that the claims of the five systems are tried with, and the claims, which claims.yaml holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from heads import Arm

SETS, SEEDS = ("dogs60", "lfw", "monuments"), range(5)
FEW = (None, 5)
"""Most training images of a class: all (24 to 30), or five."""

SCALES = (4.0, 8.0, 16.0, 32.0)


def scaled(*options: dict[str, object]) -> tuple[dict[str, object], ...]:
    """Return ``options`` with each of `SCALES`."""
    return tuple({**one, "scale": scale} for one in options for scale in SCALES)


ARMS = (
    Arm("softmax", "softmax"),
    Arm("normface", "normface", scaled({})),
    Arm("score v1", "hyperspherical", ({"variant": "v1"},)),
    Arm("score v2", "hyperspherical", ({"variant": "v2"},)),
    Arm("score v3", "hyperspherical", ({"variant": "v3"},)),
    Arm("learned score", "hyperspherical", ({"slope": 4.0}, {"slope": 8.0}, {"slope": 16.0})),
    Arm("cosface", "cosface", scaled({"margin": 0.15}, {"margin": 0.35})),
    Arm("arcface", "arcface", scaled({"margin": 0.2}, {"margin": 0.5})),
    Arm("sphereface", "sphereface", ({"margin": 2.0}, {"margin": 4.0})),
    Arm("sphereface-r", "sphereface-r", scaled({"margin": 1.3}, {"margin": 1.5})),
    Arm("hybrid", "sphere-arc", scaled({"m_s": 1.35, "m_a": 0.2}, {"m_s": 2.0, "m_a": 0.4})),
    Arm("sv-softmax", "sv-softmax", scaled({"t": 1.1}, {"t": 1.3})),
    Arm("sv-cosface", "sv-cosface", scaled({"margin": 0.15, "t": 1.1}, {"margin": 0.35, "t": 1.1})),
    Arm("sv-arcface", "sv-arcface", scaled({"margin": 0.2, "t": 1.1}, {"margin": 0.5, "t": 1.1})),
    Arm("triplet", "triplet", ({"margin": 0.2}, {"margin": 0.5})),
)


@dataclass(frozen=True)
class Claim:
    """What a system says, and how it is tried here.

    Attributes:
        system: A to E.
        words: its own words, shortened by "…".
        theirs: the number that it gives, or a dash.
        compared: (arm, other arm, number, which is better: "higher" or "lower"); empty where it was not tried here.
        few: training images of a class, see `FEW`; "drop": what five images lose against all, in ``number``.
        sets: the images that it is tried on.
        elsewhere: where it was tried before, with the verdict; or what it would take.
    """

    system: str
    words: str
    theirs: str = "-"
    compared: tuple[tuple[str, str, str, str], ...] = ()
    few: int | str | None = None
    elsewhere: str = ""
    sets: tuple[str, ...] = SETS


CLAIMS = tuple(
    Claim(**{**one, "compared": tuple(map(tuple, one.get("compared", ()))), "sets": tuple(one.get("sets", SETS))})
    for one in yaml.safe_load((Path(__file__).parent / "claims.yaml").read_text(encoding="utf-8"))
)
