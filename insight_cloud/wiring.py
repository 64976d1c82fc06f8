"""Settings in, open components out: the only place where components meet."""
