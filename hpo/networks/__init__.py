"""Networks: built from what a study stores, measured, kept as files, and used. Nothing here trains."""
