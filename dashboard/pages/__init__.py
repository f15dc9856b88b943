"""One module per page: layout and callbacks, nothing else."""
