"""The application assembled: routes, error handlers, pages and background tasks."""
