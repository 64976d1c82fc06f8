"""What is shipped for users to deploy is well formed."""
