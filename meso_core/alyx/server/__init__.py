"""A server of Alyx: login, tries, answers, names for what goes wrong, and what it holds."""
