"""What answers are worth: metrics, how many images each class has, and which images a network got right."""
