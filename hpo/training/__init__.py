"""The side that knows torch and never imports Optuna: data, networks, the training loop, the worker process."""
