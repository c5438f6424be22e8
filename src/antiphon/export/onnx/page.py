"""The README of an exported folder: what its files are, and how to answer with them."""

from __future__ import annotations

from antiphon.export.onnx.metadata import OnnxMetadata

SCRIPT = "antiphon-onnx.mjs"  # the loop in JavaScript, which every folder has

_PAGE = """# {name}, for ONNX

Written by Antiphon ({weights}). The encoder's output and the logits of the float32 files differ from the model's own by
{difference:.1e} at most.

| file | inputs | outputs |
|---|---|---|
{rows}

The names are those of optimum and transformers.js. `present.N.…` of a step are `past_key_values.N.…` of the next one;
those of the encoder are computed in the first step, and kept. `onnx.json` has the ids of special tokens and the limits,
`generation.json` the model's search settings: the code below searches greedily, whatever they say.

In Python, with onnxruntime and without PyTorch's network:

```python
from antiphon.export.onnx import OnnxModel

model = OnnxModel.load(".")
print(model.generate(["a text"]))
```

In a browser, with onnxruntime-web and @huggingface/tokenizers from npm, as in `{script}`:

```js
import * as ort from "onnxruntime-web";
import {{ Tokenizer }} from "@huggingface/tokenizers";
import {{ OnnxModel }} from "./{script}";

const model = await OnnxModel.load(ort, ".", {{ Tokenizer }});
console.log(await model.generate("a text"));
```
{hub}"""
_HUB = """
`config.json`, `generation_config.json` and the tokenizer's files are those of the Hugging Face hub, so that
transformers.js (with `subfolder: ""`) and optimum load the folder too.
"""
_STEP = "`input_ids`, `encoder_attention_mask`"
_ROWS = {
    "encoder": ("`input_ids`, `attention_mask`", "`last_hidden_state`"),
    "first_step": (f"{_STEP}, `encoder_hidden_states`", "`logits`, `present.N.{decoder,encoder}.{key,value}`"),
    "next_step": (f"{_STEP}, `past_key_values.N.…`", "`logits`, `present.N.decoder.{key,value}`"),
    "decoder": (
        f"{_STEP}, `encoder_hidden_states`, `past_key_values.N.…`, `use_cache_branch`: false in the first step",
        "`logits`, `present.N.…`, empty for the encoder after the first step",
    ),
}


def page(metadata: OnnxMetadata, *, name: str) -> str:
    """The text of README.md."""
    rows = [f"| `{file}` | {' | '.join(_ROWS[role])} |" for role, file in metadata.files.items()]
    return _PAGE.format(
        name=name,
        weights=metadata.weights,
        difference=metadata.difference,
        rows="\n".join(rows),
        script=SCRIPT,
        hub=_HUB if metadata.tokenizers == "huggingface" else "",
    )
