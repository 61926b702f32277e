"""What is optimized: one softmax with three dials (margin, emphasis, weighting), and losses of pairs."""

from steradian.losses.annealing import LambdaAnnealing
from steradian.losses.directions import spread_directions, typical_spacing
from steradian.losses.emphasis import Emphasis
from steradian.losses.fitted import fitted_options
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.margins import AdditiveAngle, AdditiveCosine, Margin, Multiplicative, SphereThenArc
from steradian.losses.pairs import ContrastiveLoss, TripletLoss
from steradian.losses.presets import Preset
from steradian.losses.registry import create, names, preset
from steradian.losses.weighting import Mean, Weighting

__all__ = [
    "AdditiveAngle",
    "AdditiveCosine",
    "ContrastiveLoss",
    "Emphasis",
    "LambdaAnnealing",
    "Margin",
    "MarginSoftmaxLoss",
    "Mean",
    "Multiplicative",
    "Preset",
    "SphereThenArc",
    "TripletLoss",
    "Weighting",
    "create",
    "fitted_options",
    "names",
    "preset",
    "spread_directions",
    "typical_spacing",
]
