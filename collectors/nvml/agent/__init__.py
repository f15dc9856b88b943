"""What runs in the NVML process: the standard library, `pynvml` and itself are all that it imports, to stay small."""
