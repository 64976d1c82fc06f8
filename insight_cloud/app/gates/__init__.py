"""The quality gate of a project: conditions that each analysis is held against."""
