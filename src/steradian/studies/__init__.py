"""Many steps, one report: evaluation of a model, comparison of techniques."""
