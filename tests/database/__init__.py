"""PostgreSQL: tried on the embedded server and on the system's own."""
