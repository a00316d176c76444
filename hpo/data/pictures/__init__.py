"""A person's own pictures: listed, decoded by all cores, split into training and test images."""
