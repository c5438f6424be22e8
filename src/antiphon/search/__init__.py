"""Greedy, beam and sampling search over the next-token probabilities of a network.

| what | file |
|---|---|
| answer many sources, stream one, score given targets | `engine.py` |
| the settings of a search, from the user's | `config.py`, `special_tokens.py` |
| a source to answer, and the checks of it | `requests.py`, `length_checks.py` |
| the engine that goes on running: groups of requests that take turns | `running.py` |
| which sources run together, and which join later | `batching.py`, `request_queue.py`, `search_size.py` |
| the step of greedy, beam and sampling search | `beam_search.py` |
| all that a search holds of its sources and hypotheses | `state.py` (base: `batch_state.py`) |
| from logits to scores | `next_token/scores.py`, `next_token/logits_processors.py`, `constraint_state.py` |
| which next tokens are chosen | `next_token/` (begin with `choose.py`), `next_token/sampling.py`, `candidates.py` |
| longest answers, forced prefixes, length and coverage penalty | `length_limits.py`, `coverage.py` |
| hypotheses that have ended, and when a source is finished | `hypotheses.py`, `stopping.py` |
"""
