"""Section K: who was busy longest."""

KINDS = ("row service", "sweep", "encoder", "port", "token unit", "attention unit", "dram")  # K1's order
SERVICE_CAUSES = ("COMPUTE", "BANK_CONFLICT", "WEIGHT_FETCH", "CONTROL")  # C9's order


def busiest(units):
    """K1: kind -> cycles of its busiest unit; units: (kind, unit) -> cycles."""
    return {kind: max([0, *(cycles for (of, _), cycles in units.items() if of == kind)]) for kind in KINDS}


def critical(units, service):
    """K2: the name of the critical resource; service: core -> causes of its row service."""
    cycles = busiest(units)
    kind = max(KINDS, key=lambda kind: cycles[kind])  # the first of several
    if kind != "row service":
        return kind
    core = min(core for core in service if units[kind, core] == cycles[kind])
    return max(SERVICE_CAUSES, key=lambda cause: service[core][cause])
