"""Pure functions from measurements to figures of merit: no I/O, no clock."""
