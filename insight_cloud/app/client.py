"""The HTTP client of a server: what the command line needs of the API."""
