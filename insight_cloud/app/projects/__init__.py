"""What is analysed, and who belongs to it."""
