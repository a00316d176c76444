"""From numbers to figures: each function draws one figure from a summary, or returns None if there is nothing to show."""
