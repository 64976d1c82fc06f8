"""Code that the server analyses itself, in the sandbox: archives and repositories."""
