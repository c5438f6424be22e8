"""A tutorial's script for fine-tuning with an attention of one's own, with the fewest changes that make it run.

docs/first-steps.md lists the changes.

python examples/tutorial.py [MODEL] [EPOCHS]     # a folder, or a name on the Hugging Face hub; google-t5/t5-small
"""

import sys

import torch
from torch import nn

import antiphon

name = sys.argv[1] if len(sys.argv) > 1 else "google-t5/t5-small"
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10


@antiphon.register("attention", "custom")
class CustomAttention(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.attention = nn.Sequential(
            nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, 1), nn.Tanh()
        )

    def forward(self, x):
        return self.attention(x)


model = antiphon.load(name, attention={"encoder": CustomAttention})
pairs = [("translate English to German: in 3 hours", "in 3 Stunden"), ("translate English to German: now", "jetzt")]

optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
model.network.train()
for epoch in range(1, epochs + 1):
    losses = []
    for batch in antiphon.batches(pairs, model):
        optimizer.zero_grad()
        loss = model.network(batch.to(model.network.device), criterion)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch}  loss {sum(losses) / len(losses):.4f}")

model.save("custom-model")
for source, _ in pairs:
    print(source, "->", antiphon.load("custom-model").generate(source)[0].text)
