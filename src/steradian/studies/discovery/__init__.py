"""Look at images before the first epoch: copies, damage, sizes, random views."""
