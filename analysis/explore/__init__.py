"""Many chips, tickets and tables: sweeps, fronts that are exact, search, sensitivity, and the answers they give."""
