"""TokenWatt's command line: the door, and the only module that sees collectors, storage and dashboard."""
