"""Self-contained HTML pages about trainings, evaluations and photos. Knows no torch."""
