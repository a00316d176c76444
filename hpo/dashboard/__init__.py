"""optuna-dashboard for hpo's database, and the notes and figures that hpo shows there."""
