"""One upload of findings: received, matched against what was known, counted."""
