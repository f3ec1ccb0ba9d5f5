"""Design-space exploration and results: sweeps, fronts, tables, figures, pages. Drives the simulator; never torch."""
