"""Who trains: the workers of a run, what each trains, and how many trials at once on a GPU."""
