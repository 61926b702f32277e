"""Notice class centers that are trained by nobody: the most frequent mistake with a loss that has parameters."""

from __future__ import annotations

import warnings

from torch import Tensor

from steradian.errors import OptionWarning

PATIENCE = 100
"""Number of backward passes without an update of the centers after which there is a warning: few add up the gradients
of so many."""


class UpdateWatch:
    """Counts backward passes that left a parameter as it was, and warns once; a hook, so that compiled losses have it.

    A parameter that is in no optimizer keeps adding up its gradient and never changes.
    """

    def __init__(self) -> None:
        self._version = -1
        self._count = 0

    def __call__(self, parameter: Tensor) -> None:
        """Look at the parameter after a backward pass."""
        self._count = self._count + 1 if parameter._version == self._version else 0
        self._version = parameter._version
        if self._count == PATIENCE:
            warnings.warn(
                f"The class centers of this loss have not changed in {PATIENCE} training steps, although they had "
                "gradients. Give them to the optimizer: [*model.parameters(), *loss.parameters()]. (If you add up the "
                "gradients of more steps than that, all is well.)",
                OptionWarning,
                stacklevel=2,
            )
