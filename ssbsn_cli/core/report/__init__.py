"""Trainings and evaluations as HTML pages that can be sent to anybody. Knows no torch."""
