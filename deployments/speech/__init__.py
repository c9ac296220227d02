"""Speech: one file per engine."""
