"""What a run shows and logs: metrics, samples, live displays."""
