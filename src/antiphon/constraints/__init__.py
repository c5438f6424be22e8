"""What an answer must or must not contain, as automata over token ids. Knows texts and tokenizers only.

| what | file |
|---|---|
| the base class, which the search calls | `constraint.py` |
| `allowed`: one of a list of texts | `trie.py` |
| `required` and `forbidden` phrases | `phrases.py` |
| phrases in characters (Aho-Corasick) | `automaton.py` |
| where each token leads in that automaton | `token_transitions.py` |
| the characters of each token | `spelling.py` |
"""
