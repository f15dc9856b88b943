"""Gear of many makers, each with its own transcription of its map; `serve.start_gear` puts any of it on a port."""
