"""The suites, one file each: `run(subject, asker)` asks every question of its suite."""
