"""A trained network as files that run without hpo, each proven to compute the same. It knows torch and what is stored."""
