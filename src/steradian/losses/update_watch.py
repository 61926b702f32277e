"""Notice class centers that are trained by nobody: the most frequent mistake with a loss that has parameters."""

from __future__ import annotations

import warnings

from torch import Tensor

from steradian.errors import OptionWarning

PATIENCE = 10
"""Number of backward passes without an update of the centers after which there is a warning."""


class UpdateWatch:
    """Counts backward passes that left a parameter as it was, and warns once.

    A parameter that is in no optimizer keeps adding up its gradient and never changes.
    """

    def __init__(self) -> None:
        self._parameter = self._gradient = -1
        self._count = 0

    def __call__(self, parameter: Tensor) -> None:
        """Look at the parameter before a training step."""
        if parameter.grad is None or self._count > PATIENCE:
            return
        if parameter._version != self._parameter:
            self._count = 0
        elif parameter.grad._version != self._gradient:
            self._count += 1
        self._parameter, self._gradient = parameter._version, parameter.grad._version
        if self._count == PATIENCE:
            self._count += 1
            warnings.warn(
                f"The class centers of this loss have not changed in {PATIENCE} training steps, although they had "
                "gradients. Give them to the optimizer: [*model.parameters(), *loss.parameters()]. (If you add up the "
                "gradients of more steps than that, all is well.)",
                OptionWarning,
                stacklevel=6,
            )
