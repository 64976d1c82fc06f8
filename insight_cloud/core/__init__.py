"""What two or more components need: errors, plans, reports, ASGI types, processes, stores, jobs."""
