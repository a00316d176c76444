"""Training code of one's own, a generator in a file or any program: searched, paused, continued and reported as the built-in one.

A file is imported in processes of its own alone: by one that says what it declares (describe.py), and by workers (train.py). So
the runner imports no torch, and a file that breaks ends no run.
"""
