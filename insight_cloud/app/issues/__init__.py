"""What is wrong, tracked from new to fixed."""
