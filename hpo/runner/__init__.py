"""One run: workers, limits, signals, deaths, and the loop that hands out trials."""
