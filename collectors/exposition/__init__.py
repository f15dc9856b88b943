"""Metrics pages over HTTP: GPU exporters, inference servers, node_exporter. `collector.py` is the door."""
