"""The CTC head's score in the search against sums over all paths, which Python enumerates."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import random
from collections.abc import Sequence

import pytest
import torch
from counts import count
from search.toys import SPECIAL, next_log_p, source_of, toy

from antiphon.batch import pad
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError
from antiphon.generation.ensemble import Ensemble
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import CTCFrames, CTCHead
from antiphon.search.beam_search import Search
from antiphon.search.config import SearchConfig
from antiphon.search.engine import answer, forced_scores, stream
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.next_token.ctc_prefix import CTCPrefixScores
from antiphon.search.requests import Request, SourceInput

END = SPECIAL.end


@functools.cache
def hearing(name: str, seed: int = 0, vocabulary: int = 13, d_model: int = 16) -> EncoderDecoder:
    """A random network with a CTC head whose frames differ."""
    network = copy.deepcopy(toy(name, seed=seed, vocabulary=vocabulary, d_model=d_model))
    torch.manual_seed(seed)
    network.ctc = CTCHead(d_model, vocabulary).double()
    with torch.no_grad():
        network.ctc.linear.weight.mul_(4.0)
    return network.eval()


def spelled(path: Sequence[int], blank: int) -> tuple[int, ...]:
    """The labels of a path: equal ones in a row are one, without blanks."""
    return tuple(id for id, _ in itertools.groupby(path) if id != blank)


def texts_of(log_p: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every text: the sum over its paths through log_p (F, V + 1)."""
    frames, ids = log_p.shape
    rows, found = log_p.exp().tolist(), dict[tuple[int, ...], float]()
    for path in itertools.product(range(ids), repeat=frames):
        text = spelled(path, ids - 1)
        found[text] = found.get(text, 0.0) + math.prod(row[id] for row, id in zip(rows, path, strict=True))
    return found


def prefix_log_p(texts: dict[tuple[int, ...], float], prefix: Sequence[int]) -> float:
    """log ψ: of all texts that begin with `prefix`."""
    begun = sum(p for text, p in texts.items() if text[: len(prefix)] == tuple(prefix))
    return math.log(begun) if begun else -math.inf


def random_frames(seed: int, lengths: Sequence[int], vocabulary: int) -> CTCFrames:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths), vocabulary + 1)
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.double)
    return CTCFrames(logits.log_softmax(-1), torch.tensor(lengths))


@pytest.mark.parametrize("seed", range(4))
def test_prefix_scores_are_sums_over_all_paths(seed: int) -> None:
    """Three sources of different numbers of frames at once, each with three hypotheses that begin differently."""
    lengths, vocabulary, width = [5, 3, 1], 4, 3
    frames, draw = random_frames(seed, lengths, vocabulary), random.Random(seed)
    texts = [texts_of(row[:length]) for row, length in zip(frames.log_p, lengths, strict=True)]
    scores = CTCPrefixScores(frames, width=width, weight=0.4, end=END)
    hypotheses = [[[] for _ in range(width)] for _ in lengths]
    for _ in range(4):
        found = scores.gains()
        for row, hypothesis in itertools.product(range(len(lengths)), range(width)):
            prefix = hypotheses[row][hypothesis]
            whole = prefix_log_p(texts[row], prefix)
            assert scores.total[row, hypothesis] == pytest.approx(whole, abs=1e-9)
            if whole == -math.inf:
                assert not found[row, hypothesis].any()
                continue
            exactly = texts[row].get(tuple(prefix), 0.0)
            wanted = [prefix_log_p(texts[row], [*prefix, id]) for id in range(vocabulary)]
            wanted[END] = math.log(exactly) if exactly else -math.inf
            wanted = [max(value - whole, -1e4) for value in wanted]
            assert found[row, hypothesis].tolist() == pytest.approx(wanted, abs=1e-9), prefix
        tokens = [[draw.choice([0, 1, 3]) for _ in range(width)] for _ in lengths]
        for row, chosen in zip(hypotheses, tokens, strict=True):
            for prefix, token in zip(row, chosen, strict=True):
                prefix.append(token)
        scores.advance(torch.tensor(tokens))


def test_long_sources_stay_finite_and_equal_pytorchs_loss() -> None:
    """1,200 frames: the score of the whole text is -CTCLoss, in float32 too, where every path's probability is 0."""
    vocabulary, length = 20, 60
    labels = [random.Random(1).randrange(3, vocabulary) for _ in range(length)]
    for dtype, error in ((torch.double, 1e-9), (torch.float, 1e-5)):
        frames = random_frames(7, [1200, 900], vocabulary)
        frames = CTCFrames(frames.log_p.to(dtype), frames.lengths)
        scores = CTCPrefixScores(frames, width=1, weight=0.3, end=END)
        score = torch.zeros(2, dtype=torch.double)
        for label in labels:
            score += scores.gains()[:, 0, label].double()
            scores.advance(torch.tensor([[label], [label]]))
        score += scores.gains()[:, 0, END].double()
        targets = torch.tensor([labels, labels])
        loss = torch.nn.CTCLoss(blank=vocabulary, reduction="none")
        wanted = loss(frames.log_p.double().transpose(0, 1), targets, frames.lengths, torch.tensor([length] * 2))
        assert torch.isfinite(score).all()
        assert (-score).tolist() == pytest.approx(wanted.tolist(), rel=error)


def test_small_probabilities_do_not_vanish_beside_a_longer_source() -> None:
    """Token 0 is heard in the last of four frames alone; that 1 follows it has the probability of exp(-120)."""
    logits = torch.full((2, 8, 4), -60.0)
    logits[:, :, 3] = 0.0  # the blank
    logits[0, 3, 0] = 60.0
    found = []
    for rows, frames in ((2, 8), (1, 4)):
        log_p = logits[:rows, :frames].log_softmax(-1)
        scores = CTCPrefixScores(CTCFrames(log_p, torch.tensor([4, 8][:rows])), width=1, weight=0.5, end=END)
        scores.advance(torch.zeros(rows, 1, dtype=torch.long))
        found.append(float(scores.gains()[0, 0, 1]))
    assert found[0] == found[1] == pytest.approx(-120 + math.log(3), abs=1e-3)  # a pair of the first three frames


def wanted_answers(
    network: EncoderDecoder, source: list[int], limit: int, config: SearchConfig
) -> list[tuple[float, float, list[int]]]:
    """All answers with their joint rank and the decoder's score, best first."""
    ids, tokens = pad([source], pad_id=0)
    frames = network.frames(network.encode(ids, tokens))
    texts = texts_of(frames.log_p[0])
    going = [id for id in range(network.vocab_size) if id != END]
    answers = [[*ids, END] for n in range(limit) for ids in itertools.product(going, repeat=n)]
    answers += [list(ids) for ids in itertools.product(going, repeat=limit)]
    scores = forced_scores(network, [(source, ids) for ids in answers], SPECIAL)
    ranked = []
    for score, ids in zip(scores, answers, strict=True):
        exactly = texts.get(tuple(ids[:-1]), 0.0)
        heard = (math.log(exactly) if exactly else -math.inf) if ids[-1] == END else prefix_log_p(texts, ids)
        joint = (1 - config.ctc_weight) * score + config.ctc_weight * heard
        ranked.append((joint / config.length_divisor(len(ids)), score, ids))
    return sorted(ranked, key=lambda entry: -entry[0])


@pytest.mark.parametrize("number", range(count("ctc_oracle")))
def test_a_beam_as_wide_as_the_tree_finds_the_best_joint_answers(number: int) -> None:
    draw = random.Random(number)
    vocabulary, limit = draw.choice([(3, 4), (4, 3), (5, 2)])
    network = hearing(draw.choice(["paper", "rotary", "relative"]), number, vocabulary, 8)
    source = [draw.randrange(vocabulary) for _ in range(draw.randint(limit, 5))]
    config = SearchConfig(
        SPECIAL,
        width=vocabulary * (vocabulary - 1) ** (limit - 1),
        n_best=3,
        length_penalty=draw.choice([1.0, 0.0, 0.5]),
        ctc_weight=draw.choice([0.3, 0.7, 1.0]),
    )
    running, found = Search(network, [Request(source, limit)], config), list[Hypothesis]()
    while running.open:
        found = [hypothesis for _, row in running.step() for hypothesis in row] or found
    assert len(found) == 3
    for hypothesis, (rank, score, ids) in zip(found, wanted_answers(network, source, limit, config), strict=False):
        assert hypothesis.ids == ids and hypothesis.rank == pytest.approx(rank, abs=1e-9)
        assert hypothesis.score == pytest.approx(score, abs=1e-9)  # the decoder's own


SETTINGS = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 3},
    {"beam_size": 4, "beam_groups": 2, "diversity_penalty": 0.3, "n_best": 2},
    {"beam_size": 3, "min_new_tokens": 2, "no_repeat_ngram": 2, "repetition_penalty": 1.2},
    {"beam_size": 3, "coverage_penalty": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_answer_is_the_same_alone_in_a_batch_and_as_a_stream(settings: dict[str, int]) -> None:
    draw, network = random.Random(3), hearing("relative")
    config = GenerationConfig(**{"max_new_tokens": 6, "ctc_weight": 0.5, **settings})  # type: ignore[arg-type]
    sources = [SourceInput(source_of(draw), row, prefix=(4, 4)[: row % 3]) for row in range(4)]
    alone = [answer(network, [source], config, SPECIAL)[0] for source in sources]
    together = answer(network, sources, config, SPECIAL)
    for source, one, other in zip(sources, alone, together, strict=True):
        assert [each.ids for each in one] == [each.ids for each in other]
        assert [each.rank for each in one] == pytest.approx([each.rank for each in other], abs=1e-9)
        assert [id for ids in stream(network, source, config, SPECIAL) for id in ids] == one[0].ids


def test_the_weight_matters_and_0_is_the_decoder_alone() -> None:
    network, source = hearing("paper"), [5, 9, 7, 4, 11, END]
    without = copy.deepcopy(network)
    without.ctc = None
    found = {
        weight: answer(network, [source], GenerationConfig(ctc_weight=weight, max_new_tokens=6), SPECIAL)[0][0]
        for weight in (0.0, 0.5, 1.0)
    }
    assert found[0.0] == answer(without, [source], GenerationConfig(max_new_tokens=6), SPECIAL)[0][0]
    assert len({tuple(each.ids) for each in found.values()}) > 1


def test_an_answer_longer_than_its_source_and_a_forced_prefix_that_no_path_spells() -> None:
    """Both are the decoder's affair: the search neither stops nor gives NaN."""
    network = hearing("paper")
    config = GenerationConfig(ctc_weight=0.5, max_new_tokens=8, min_new_tokens=5)
    prefix = (4, 4, 4, 4)  # eight frames at least
    for row, (ids, begun) in enumerate([([5, END], ()), ([5, 6, END], prefix)]):
        best = answer(network, [SourceInput(ids, row, prefix=begun)], config, SPECIAL)[0][0]
        assert len(best.ids) >= 5 + len(begun) and math.isfinite(best.rank)
        log_p = [next_log_p(network, ids, [best.ids[:place]])[0] for place in range(len(best.ids))]
        assert best.score == pytest.approx(sum(row[id] for row, id in zip(log_p, best.ids, strict=True)))


def test_what_cannot_be_is_one_line() -> None:
    config = GenerationConfig(ctc_weight=0.3)
    pair = Ensemble([hearing("paper"), hearing("paper", 1)])
    for network in (toy("paper"), pair):
        with pytest.raises(ConfigError, match=r"^`ctc_weight` needs a single model with a CTC head .* Set it to 0\.$"):
            answer(network, [[5, END]], config, SPECIAL)
    with pytest.raises(ConfigError, match="`ctc_weight` needs a beam search, but `temperature` is set"):
        GenerationConfig(ctc_weight=0.3, temperature=1.0)
    with pytest.raises(ConfigError, match="`ctc_weight` must be"):
        GenerationConfig(ctc_weight=1.5)
