"""Measure a model, a list of pairs, or anybody's table of predictions."""
