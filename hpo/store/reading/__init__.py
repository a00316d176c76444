"""Studies for those who only look: read by columns, without Optuna and SQLAlchemy."""
