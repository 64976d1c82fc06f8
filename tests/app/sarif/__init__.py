"""Tests of reading, writing and fingerprinting SARIF."""
