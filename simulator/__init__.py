"""The simulated chip: traces and hardware in, cycles, traffic and energy out. Never imports torch."""
