"""Many chips, tickets and tables in one result file: sweeps, and fronts that are exact.

search/ looks where there is too much to sweep, sensitivity/ says which axis matters, advice/ picks a chip within
limits, views/ draws, and writes CSV and the page.
"""
