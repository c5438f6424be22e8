"""Records the operations of one decoding step, and turns them into a program of kernel calls."""
