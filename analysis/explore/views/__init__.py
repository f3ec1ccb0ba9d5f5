"""Pictures of a result file, its points as CSV, and the page to explore them."""
