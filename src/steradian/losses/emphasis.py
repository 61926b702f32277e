"""The emphasis dial h(t, theta, I): rewrite of the wrong-class logits.

An emphasis is any object with this signature. It works on cosines, one element at a time, so that it
can run on any tile of the classes; the target column is put back after it, so it may rewrite that too.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Emphasis(Protocol):
    """Rewrites cosines of wrong classes given the margined target logit of each row."""

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        """Return the emphasized logits, in units of a cosine.

        Args:
            cosine: [N, C'] cosines of any subset of classes.
            target: [N, 1] target logits f(m, theta_y), in units of a cosine.
        """
        ...
