"""Several processes that work on one job: ranks and their collectives (world.py), over torch.distributed."""
