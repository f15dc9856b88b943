"""SNMP devices, polled, and the traps that they send. `collector.py` is the door."""
