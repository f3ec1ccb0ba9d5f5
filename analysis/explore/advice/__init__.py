"""The cheapest chip of a result file that meets some limits, and where the next steps lead."""
