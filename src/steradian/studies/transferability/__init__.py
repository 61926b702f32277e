"""Find out how general each layer is, and which layers of a pretrained encoder to keep."""
