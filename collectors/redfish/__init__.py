"""BMCs, rack PDUs, power shelves, CDUs over Redfish, read only. `collector.py` is the door."""
