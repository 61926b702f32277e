"""How the N x C product is computed. Small enough to build whole: `dense`."""
