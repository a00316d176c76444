"""The side that knows Optuna and never imports torch: storage, study, samplers, pruners, the runner's loop."""
