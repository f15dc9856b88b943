"""The fabric: switches, their ports and what is wrong with them, as one view for all browsers."""
