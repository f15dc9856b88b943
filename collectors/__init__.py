"""How devices are asked: one module per protocol, one profile per device model. Imports storage only."""
