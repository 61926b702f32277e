"""Adapt a frozen pretrained encoder in closed form: an affine embedding and a linear classifier on its features."""
