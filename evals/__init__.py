"""Floor 3: tasks, metrics, intervals and reports."""
