"""gNMI devices, SONiC switches first. `collector.py` is the door."""
