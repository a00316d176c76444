"""What a person sees: `views` of a run while it goes on, `tables` of what is stored, `streams` that both print to."""
