"""Storehub's own vision models: rendering, training, export and evaluation.

Everything a network learns from here is drawn by our own code out of numbers and a seed; no
photograph takes part in training.
"""
