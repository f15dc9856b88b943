"""How devices are asked: one folder per protocol, one profile per device model. Imports storage only."""
