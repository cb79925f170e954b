"""Trainings, evaluations and the noise of photos as HTML pages that can be sent to anybody. Knows no torch."""
