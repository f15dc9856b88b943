"""The GPUs of this host, asked in a process of its own. `collector.py` is the door."""
