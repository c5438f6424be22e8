"""The way of docs/first-steps.md in one file: tokenizer, encoder, decoder and attention by hand, a loop, answers.

python examples/first_steps.py [EPOCHS] [PAIRS]        # ten epochs of all pairs: under three minutes on two cores
"""

import sys

import torch

import antiphon
from antiphon.models import Decoder, Encoder, EncoderDecoder, InputEmbedding, Shape
from antiphon.nn import Embedding, ScoreRule, Sinusoidal
from antiphon.text import train_tokenizer
from antiphon.text.phrases import phrases

corpus = phrases("en", "de")
tokenizer = train_tokenizer([text for pair in corpus.train for text in pair], kind="bpe", vocab_size=1200)


@antiphon.register("attention", "fade")  # a name, so that a saved model can say what it has
class Fade(ScoreRule):
    additive = True  # it only adds to the score

    def setup(self, *, num_heads, head_dim, role):
        self.rate = torch.nn.Parameter(torch.full((num_heads,), 0.05))

    def score(self, score, batch, head, q_pos, k_pos):
        return score - self.rate[head] * (q_pos - k_pos).abs()


device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
shape = Shape(d_model=64, num_heads=4, ffn_dim=256, activation="swiglu", norm="rms", bias=False)
encoder = Encoder([Fade()] * 2, shape=shape)
decoder = Decoder(["full"] * 2, ["full"] * 2, shape=shape)
table = Embedding(tokenizer.vocab_size, 64)
source, target = InputEmbedding(table, Sinusoidal(64)), InputEmbedding(table, Sinusoidal(64))
network = EncoderDecoder(source, encoder, target, decoder, max_length=256).to(device)

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
pairs = corpus.train[: int(sys.argv[2])] if len(sys.argv) > 2 else corpus.train
batches = antiphon.batches(pairs, tokenizer, batch_tokens=2048)
optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, betas=(0.9, 0.98))
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=epochs * len(batches))
for epoch in range(1, epochs + 1):
    losses = []
    for batch in batches:
        loss = network(batch.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    print(f"epoch {epoch}  first loss {losses[0]:.2f}  mean loss {sum(losses) / len(losses):.3f}", flush=True)

model = antiphon.Model(network, tokenizer)
print(model.generate("in 3 hours", beam_size=4)[0].text, "|", "".join(model.stream("May 3, 2031")))
print(antiphon.evaluate(model, corpus.test, metrics=["exact_match"])["exact_match"].score, "% exact")
model.save("first-model")
print(antiphon.load("first-model").generate("in 13 hours")[0].text)
