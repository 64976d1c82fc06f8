"""Security headers: every promise is tested against a plain ASGI application."""
