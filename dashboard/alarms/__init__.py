"""Rules, states and notices."""
