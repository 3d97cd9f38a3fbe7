"""dynexit inside other people's programs. Each is imported by its own package, never by ours."""
