"""What is stored: databases, the studies in them, and what a study was made with."""
