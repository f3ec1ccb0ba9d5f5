"""The result table of `sparsespike compare`: tickets side by side, and what figures they make."""
