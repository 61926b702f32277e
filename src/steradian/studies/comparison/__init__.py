"""Compare techniques on one data set: the same encoder, the same budget, several seeds."""
