"""Tests of the issues."""
