"""The HTTP kernel that every feature shares: problem documents, the context, cursors."""
