"""Compute the product of N embeddings and C class centers: as one matrix, in tiles, sampled, or sharded."""
