"""Write the ledger: each claim beside what was measured, as replicated, refuted or too close to tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from claims import CLAIMS, Claim

from steradian.metrics import t_interval

NAMES = {
    "top1": "top-1", "top5": "top-5", "rank": "mean rank", "ece": "ECE", "means": "accuracy by class means",
    "new": "accuracy for new classes of three images each", "seconds": "seconds to add them",
    "spread": "angle to the own class by that to the nearest other",
    "norm_error": "AUC of the norm, right against wrong",
    "norm_stranger": "AUC of the norm, known against strangers",
}  # fmt: skip

START = """# Claims of the seeds, on real photographs

Each claim of the five systems that this project grew from, in its own words, beside what was measured here.
*Replicated*: the difference has the direction of the claim, and its 95 % interval holds no zero. *Refuted*: it has
the other direction, and holds no zero. *Too close to tell*: it holds zero. A claim that was not tried says so.

Frozen features of EfficientNet-Lite0 (ImageNet), 224 px; one hidden layer of 256, 64 dimensions, Adam, 30 epochs, the
epoch with the best validation accuracy. Options of every loss were chosen alike, on the validation part of the first
seed. Five seeds, each with its own division of images (60 : 20 : 20) and its own sixth of the classes left out as
strangers; the intervals are over seeds (Student's t) of differences between arms with the same seed, and do not cover
the choice of the three sets. They are not corrected for the number of rows: of 20 rows without any difference, one is
expected to hold no zero. Scales of 4, 8, 16 and 32 were tried; on faces and monuments most losses took 4, so that lower
ones may be better still. Dogs: 60 breeds, which ImageNet has, too. Faces: people of LFW's development folds with
ten images or more. Monuments: 49.

    python benchmarks/claims/run.py --data DIR

"""


def page(rows: list[dict[str, Any]], made: str) -> str:
    """Return docs/claims.md; ``made`` says when, with which versions and from which data."""
    parts = [START]
    for system in "ABCDE":
        parts.append(f"## System {system}\n")
        parts += [entry(claim, rows) for claim in CLAIMS if claim.system == system]
    failed = [row for row in rows if "failed" in row]
    if failed:
        parts.append("## Arms that failed\n")
        parts += [f"* {row['arm']} on {row['set']}: {row['failed']}\n" for row in failed]
    parts.append(f"## How it was made\n\n{made}\n")
    return "\n".join(parts).rstrip() + "\n"


def entry(claim: Claim, rows: list[dict[str, Any]]) -> str:
    """Return the part of the page about one claim."""
    lines = [f"> {claim.words}\n"]
    if claim.theirs != "-":
        lines.append(f"The system's number: {claim.theirs}.\n")
    if claim.compared:
        lines += ["| | " + " | ".join(claim.sets) + " |", "|---" * (len(claim.sets) + 1) + "|"]
        for arm, other, number, better in claim.compared:
            cells = [compared(rows, name, arm, other, number, better, claim.few) for name in claim.sets]
            what = NAMES[number] + (", lost with five images a class" if claim.few == "drop" else "")
            lines.append(f"| {what}: {arm} − {other} | " + " | ".join(cells) + " |")
        lines.append("")
    if claim.elsewhere:
        lines.append(f"{claim.elsewhere}\n")
    return "\n".join(lines)


def compared(
    rows: list[dict[str, Any]], name: str, arm: str, other: str, number: str, better: str, few: int | str | None
) -> str:
    """Return the mean difference with its interval, and what it says of the claim."""
    if few == "drop":
        # What is lost: all images minus five, so that the claim "suffers more" is a larger loss.
        first, second = (drop(rows, name, one, number) for one in (arm, other))
        better = "higher"
    else:
        first, second = values(rows, name, arm, number, few), values(rows, name, other, number, few)
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return "not measured"
    differences = [first[seed] - second[seed] for seed in seeds]
    interval = t_interval(differences)
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    rises = low > 0 if better == "higher" else high < 0
    falls = high < 0 if better == "higher" else low > 0
    word = "**replicated**" if rises else "**refuted**" if falls else "too close to tell"
    mean = np.mean([first[seed] for seed in seeds])
    return f"{interval.mean:+.3f} ± {interval.half_width:.3f} ({mean:.3f}): {word}"


def values(rows: list[dict[str, Any]], name: str, arm: str, number: str, few: int | str | None) -> dict[int, float]:
    """Return the number by seed; an arm that is a number itself is that number for every seed."""
    if arm.replace(".", "").isdigit():
        return {row["seed"]: float(arm) for row in rows if row["set"] == name and row["seed"] is not None}
    return {
        row["seed"]: row[number]
        for row in rows
        if (row["set"], row["arm"], row["few"]) == (name, arm, few)
        and "failed" not in row
        and row[number] == row[number]
    }


def drop(rows: list[dict[str, Any]], name: str, arm: str, number: str) -> dict[int, float]:
    """Return by seed what five images of a class lose against all."""
    whole, few = values(rows, name, arm, number, None), values(rows, name, arm, number, 5)
    return {seed: whole[seed] - few[seed] for seed in whole.keys() & few.keys()}
