"""Power and coolant as one view: supplies, buses, feeds, coolant units, batteries, leaks, checks."""
