"""Modbus TCP devices and gateways, read only. `collector.py` is the door."""
