"""What is published: which series exist, under which labels, and their values."""
