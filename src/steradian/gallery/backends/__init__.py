"""Storage for galleries: a SQLite file, or Milvus."""
