"""What a project tells other programs: an outbox, signed messages, and patience."""
