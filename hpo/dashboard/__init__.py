"""optuna-dashboard for hpo's database, and the notes and pictures that hpo shows there."""
