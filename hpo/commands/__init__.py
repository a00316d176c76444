"""The commands, one function each: options in, exit code out. `hpo.cli` registers them."""
