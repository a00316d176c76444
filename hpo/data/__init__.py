"""Images: found, read with suspicion, decoded once, mapped by all. No torch."""
