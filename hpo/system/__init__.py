"""What the operating system gives and takes: atomic files, locks, our own processes, and named places to die in tests."""
