"""Search in spaces too large to sweep: NSGA-II with a budget of simulations, and what it is judged by."""
