"""dynexit inside other programs. Only its own package imports each integration."""
