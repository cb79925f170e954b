"""HTML pages that can be sent to anybody: trainings, evaluations, photos. Knows no torch."""
