"""optuna-dashboard over a study's database, and what hpo shows there."""
