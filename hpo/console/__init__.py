"""Terminal output: `views` show a run in progress, `tables` show what is stored, and both print to `streams`."""
