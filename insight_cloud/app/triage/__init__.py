"""What people decide about issues: one by one, or by rule and path, for every branch."""
