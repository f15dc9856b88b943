"""What a building's broker publishes, subscribed to. `collector.py` is the door."""
