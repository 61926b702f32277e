"""Where a gallery is stored: a SQLite file, or Milvus."""
