"""The table of published losses: one row a name, no bodies."""

from __future__ import annotations

from steradian.losses.presets.margin_rows import MARGIN_ROWS
from steradian.losses.presets.mining_rows import MINING_ROWS
from steradian.losses.presets.own_rows import OWN_ROWS
from steradian.losses.presets.rows import Preset
from steradian.losses.presets.softmax_rows import SOFTMAX_ROWS

PRESETS: tuple[Preset, ...] = (*SOFTMAX_ROWS, *MARGIN_ROWS, *MINING_ROWS, *OWN_ROWS)
