"""Classification: labels as answers, with their probabilities."""
