"""Find the nearest enrolled vectors: exactly, by a FAISS index, or in Milvus."""
