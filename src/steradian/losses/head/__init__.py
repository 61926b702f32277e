"""Compute the product of N embeddings and C class centers; `dense` builds it as one matrix."""
