"""How a network trains on several processes: DDP or FSDP2, the choice between them, and what cannot be dealt."""
