"""From the logits of a step to the candidates among which the hypotheses of the next step are."""
