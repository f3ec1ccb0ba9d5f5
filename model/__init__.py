"""The network: Spikformer with token selectors, its training and pruning, and its lowering to an integer trace."""
