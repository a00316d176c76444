"""One step of a training: kernel by kernel, or captured in a CUDA graph; what an epoch draws before its first."""
