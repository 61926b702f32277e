"""Read photographs while a model works on them: crops from the originals, worker processes, damaged files."""
