"""The product: teams see what is wrong with their code. No component knows it."""
