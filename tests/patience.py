"""Time in tests: it tells waiting from not waiting; how fast something is, `bench/` measures."""

BUSY = 20
"""How many times slower than an idle machine one may be that runs other tests as well."""
