"""From sources to answers: search over a network's next-token probabilities, and the model that a user holds."""
