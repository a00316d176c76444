"""Who is next, and who trains on: Optuna's samplers and pruners, over the study in memory. No torch."""
