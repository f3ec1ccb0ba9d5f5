"""Which axis of a space matters: Sobol indices over all of it, and what each axis does around one point."""
