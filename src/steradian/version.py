"""The version of steradian."""

__version__ = "0.1.0"
