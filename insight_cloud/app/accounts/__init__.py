"""Who may do what: users, sessions, tokens and the links that create the first of them."""
