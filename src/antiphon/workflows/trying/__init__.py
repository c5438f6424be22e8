"""What a run would cost, tried with its own parts: a trial of its steps, on a sample of large data."""
