"""SARIF 2.1.0 in and out, and the fingerprints that keep a finding's identity."""
