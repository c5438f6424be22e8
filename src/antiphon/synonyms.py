"""Names of settings in transformers, peft and fairseq, with the corresponding settings of recipes, `generate`, `load`.

>>> explain("num_beams", lambda setting: f"`{setting}`")
', but a name of transformers: give `generation.beam_size` or `validation.beam_size`.'

Messages about unknown settings, flags, keywords and attributes use the tables below, and so does
docs/coming-from-transformers.md. Standard library only, since settings.py imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Synonym:
    """A name of another library.

    `ours`: our settings, dotted as in a recipe; `generation.` and `load.` are also keywords of `generate` and
    `antiphon.load`; empty if there is no equivalent. `value`: the value to give, if it is fixed. `note`: differences,
    or the alternative.
    """

    name: str
    library: str
    ours: tuple[str, ...] = ()
    value: str = ""
    note: str = ""


def find(name: str) -> Synonym | None:
    """The entry for a name, also in the form of a flag (`--num-beams`, `--training.learning-rate`)."""
    return SYNONYMS.get(str(name).lstrip("-").rpartition(".")[2].replace("-", "_"))


def explain(name: str, here: Callable[[str], str | None], *, section: str = "") -> str:
    """The hint to append to a message about an unknown `name`; "" if it is not a name of a known library.

    `here` returns how one of our settings is typed in this context, or None if it does not belong there. Settings of
    `section` are preferred.
    """
    found = find(name)
    if found is None:
        return ""
    own = tuple(setting for setting in found.ours if setting.rpartition(".")[0] == section)
    return f", but a name of {found.library}: {answer(found, here, own or found.ours)}"


def answer(found: Synonym, here: Callable[[str], str | None], settings: Sequence[str]) -> str:
    """A sentence or two with our `settings` and the value to give, or with the alternative."""
    near = list(dict.fromkeys(shown for shown in map(here, settings) if shown is not None))
    shown = [f"{one}{found.value and ' ' + found.value}" for one in near]
    shown = shown or [_elsewhere(setting, found.value) for setting in settings]
    return " ".join(part for part in (f"give {' or '.join(shown)}." if shown else "", found.note) if part)


def _elsewhere(setting: str, value: str) -> str:
    section, _, last = setting.rpartition(".")
    behind = {"generation": " to `generate`", "load": " to `antiphon.load`"}.get(section, " in a recipe")
    shown = last if section in ("generation", "load") else setting
    return f"`{shown}`{value and ' ' + value}{behind}"


def _table(library: str, rows: str) -> list[Synonym]:
    """One entry a line: the name, or several by `|`; our settings, by `|`; the value; the note."""
    made = []
    for row in rows.strip().splitlines():
        names, ours, value, note = (part.strip() for part in row.split(";", 3))
        settings = tuple(filter(None, ours.split("|")))
        made += [Synonym(name, library, settings, value, note) for name in names.split("|")]
    return made


SEARCH = _table(
    "transformers",
    """
num_beams; generation.beam_size|validation.beam_size;;
num_return_sequences; generation.n_best;; The first is the answer, the others are its `.alternatives`.
max_length; generation.max_new_tokens|data.max_length;; The start token is not counted.
min_length; generation.min_new_tokens;; The start token is not counted.
do_sample; generation.temperature; 1.0; Without `temperature` nothing is sampled.
early_stopping; generation.patience; 1; That is `true`; by default a search ends when no open hypothesis can win.
num_beam_groups; generation.beam_groups;;
no_repeat_ngram_size; generation.no_repeat_ngram;;
bad_words_ids; generation.forbidden;; It takes texts, not ids.
force_words_ids; generation.required;; It takes texts, not ids.
constraints; generation.required;; It takes texts.
forced_bos_token_id; generation.target_language|generation.prefix;; Both take texts; a folder's own id is used anyway.
forced_eos_token_id;;; a folder's own forced end is used by itself.
suppress_tokens; generation.forbidden;; It takes texts; a folder's own suppressed ids are used by themselves.
begin_suppress_tokens;;; a folder's own is used for a speech model.
prefix_allowed_tokens_fn; generation.allowed|generation.prefix;; `allowed` takes the whole texts that may be answered.
decoder_start_token_id;;; the start token is that of the model's folder.
decoder_input_ids; generation.prefix;; It takes the text with which answers begin.
logits_processor;;; the penalties and restrictions of docs/search.md are built in.
stopping_criteria; generation.max_new_tokens;; There are no criteria of your own.
stop_strings;;; cut `.text` yourself.
typical_p; generation.top_p|generation.min_p;; Typical sampling is not supported; these are the nearest.
epsilon_cutoff; generation.min_p;; Epsilon sampling is not supported; `min_p` is the nearest.
eta_cutoff; generation.min_p;; Eta sampling is not supported; `min_p` is the nearest.
penalty_alpha;;; contrastive search is not supported. A beam with `no_repeat_ngram` also avoids repetition.
encoder_no_repeat_ngram_size;;; `no_repeat_ngram` applies to the answer only.
encoder_repetition_penalty;;; `repetition_penalty` applies to tokens of the answer.
exponential_decay_length_penalty; generation.length_penalty;; It applies to the ranking, not to logits.
sequence_bias; generation.forbidden|generation.required;; There are no biases, only texts that are excluded or required.
renormalize_logits;;; `.score` always uses the model's own probabilities.
remove_invalid_values;;; NaN in the logits is an error, antiphon.NonFiniteError.
guidance_scale;;; guidance is not supported.
assistant_model;;; speculative decoding is not supported. On a CPU `quantize="int8"` of `antiphon.load` is faster.
prompt_lookup_num_tokens;;; speculative decoding is not supported.
watermarking_config;;; watermarks are not supported.
use_cache;;; keys and values are always cached.
cache_implementation;;; the cache follows from the attention.
max_time;;; there is no time limit. `max_new_tokens` limits an answer.
output_scores|output_logits;;; an answer has its `.score`, and `model.score` gives any text's.
output_attentions;;; `model.attention(source, target)` gives all weights.
output_hidden_states;;; `model.network.encode` gives the encoder's output.
return_dict_in_generate|return_dict;;; an answer always has `.text`, `.tokens`, `.score` and `.alternatives`.
return_tensors;;; inputs and outputs are texts.
streamer;;; `model.stream(text)` gives the pieces, on the command line `--stream`.
input_ids;;; `generate` takes texts, and the tokenizer comes with the model.
attention_mask;;; `generate` takes texts, and masks padding by itself.
generation_config;;; give its values as keywords. Those of the folder are `model.generation`.
skip_special_tokens;;; `.text` never has special tokens.
clean_up_tokenization_spaces;;; decoded text is not changed.
truncation; generation.overflow|data.overflow; truncate; The limit is `max_source_tokens` or `data.max_length`.
model_max_length; generation.max_source_tokens;; A folder's own is the default.
padding;;; rows are padded to the longest of their batch.
src_lang; generation.source_language;;
tgt_lang; generation.target_language;;
bos_token_id|eos_token_id|pad_token_id;;; the special tokens are those of the model's folder.
return_full_text;;; `.text` is the answer alone.
synced_gpus;;; a model runs on one device.
""",
)
SPEECH = _table(
    "transformers",
    """
return_timestamps; generation.timestamps; segments; Times of words: `words`.
return_token_timestamps; generation.timestamps; words;
condition_on_prev_tokens; generation.previous_text; true;
logprob_threshold; generation.log_probability_threshold;;
prompt_ids; generation.prompt;; It takes a text, not ids.
prompt_condition_type;;; `prompt` is read before each window; with `previous_text` before the text of earlier windows.
return_segments; generation.timestamps; segments; An answer then has its `.segments`.
chunk_length_s|stride_length_s; generation.overflow; window; The length of a window is that of the model's input.
num_segment_frames;;; the length of a window is that of the model's input.
time_precision|time_precision_features;;; the step of times follows from the model's settings.
input_features;;; `generate` takes sound files or samples.
language; generation.source_language;;
monitor_progress;;; `model.stream(recording)` gives the text of each window.
""",
)
LOAD = _table(
    "transformers",
    """
torch_dtype; load.dtype|training.precision;;
dtype; load.dtype|training.precision;;
device; load.device;; `antiphon.train` takes it too.
device_map; load.device;; A model is on one device: auto, cpu, cuda or mps.
load_in_8bit; load.quantize; int8; It is for answers on a CPU.
load_in_4bit; load.quantize; int8; Four bits are not supported.
quantization_config; load.quantize; int8; It is for answers on a CPU.
trust_remote_code;;; code in a model's folder is never run.
revision;;; download that revision (`hf download NAME --revision …`) and give its folder.
subfolder;;; give the path of that folder.
attn_implementation; attention.backend;; A loaded model chooses the fastest back end by itself.
low_cpu_mem_usage;;; weights are always read one by one.
use_safetensors;;; only safetensors files are read. `antiphon convert` converts a pickle.
cache_dir;;; set the environment variable HF_HOME.
token;;; set the environment variable HF_TOKEN, or use `hf auth login`.
use_auth_token;;; set the environment variable HF_TOKEN, or use `hf auth login`.
local_files_only;;; set the environment variable HF_HUB_OFFLINE=1.
force_download;;; delete the model from the hub's cache.
max_memory;;; a model is on one device.
offload_folder;;; a model is on one device.
use_fast;;; the tokenizer's files are read in one way.
model_name_or_path; model.base;; `antiphon.load` takes the path as its first argument.
pretrained_model_name_or_path; model.base;; `antiphon.load` takes the path as its first argument.
state_dict;;; `antiphon.from_torch` takes a module's weights.
""",
)
TRAINING = _table(
    "transformers",
    """
learning_rate; training.lr;;
per_device_train_batch_size; training.batch_tokens;; It counts tokens: rows x the longest row, padding included.
per_device_eval_batch_size; generation.batch_size;; By default it follows from the sizes of sources.
batch_size; training.batch_tokens|generation.batch_size;; `batch_tokens` counts tokens: rows x the longest row.
auto_find_batch_size; training.batch_tokens;; It is not searched for.
num_train_epochs; training.max_epochs;;
label_smoothing_factor; training.label_smoothing;; It is 0.1 unless set.
gradient_accumulation_steps; training.accumulate;;
fp16; training.precision|load.dtype; float16;
bf16; training.precision|load.dtype; bfloat16;
fp16_full_eval;;; validation uses `training.precision`.
tf32;;; `torch.set_float32_matmul_precision` applies here too.
warmup_ratio; training.warmup_steps;; It is a number of steps: this share of all.
lr_scheduler_type; training.schedule;; It is inverse_sqrt, cosine, linear, wsd or constant.
max_grad_norm; training.clip_norm;;
optim; training.optimizer;; It is adamw, adafactor, muon, lion, schedule_free, sgd or module:Class.
adam_beta1; training.betas;; A list of both.
adam_beta2; training.betas;; A list of both.
adam_epsilon; training.optimizer; {adamw: {eps: 1e-8}};
eval_steps; validation.every_steps;;
eval_strategy; validation.every;; It takes a number with its unit: 500 steps or 1 epoch.
evaluation_strategy; validation.every;; It takes a number with its unit: 500 steps or 1 epoch.
save_steps; training.save_every_steps;;
save_strategy; training.save_every;; It takes a number with its unit: 500 steps or 1 epoch.
save_total_limit; training.keep_last;;
logging_steps; training.log_every_steps;;
logging_strategy; training.log_every;; It takes a number with its unit: 50 steps or 1 epoch.
load_best_model_at_end;;; `model/` of a run is always the best by `validation.keep_best`.
metric_for_best_model; validation.keep_best;;
greater_is_better;;; it is a property of each metric.
early_stopping_patience; training.patience;; It counts validations.
predict_with_generate; validation.metrics; [bleu, chrf]; Metrics of texts are always measured on generated answers.
generation_max_length; generation.max_new_tokens;;
generation_num_beams; validation.beam_size;;
group_by_length;;; rows of similar length are always together.
gradient_checkpointing; training.checkpoint_activations; true;
dataloader_num_workers;;; batches are prepared while a GPU computes.
report_to; training.log_to;; It takes tensorboard, wandb, mlflow, trackio or a reporter of your own.
output_dir; output;;
overwrite_output_dir;;; it is `antiphon.train(..., overwrite=True)`, and the flag `--overwrite`.
resume_from_checkpoint;;; it is `antiphon.train(..., resume=True)`, and the flag `--resume`.
torch_compile; training.compile; true;
deepspeed;;; several processes are not supported yet.
fsdp;;; several processes are not supported yet.
hub_model_id;;; upload the folder of `model.save(folder, format="huggingface")`.
remove_unused_columns;;; only the columns that a recipe names are read.
data_seed; training.seed;; One seed is for weights, data order and dropout.
neftune_noise_alpha;;; noise in embeddings is not supported. `model.word_dropout` and `training.r_drop` regularize.
ignore_pad_token_for_loss;;; padding never counts in the loss.
train_file; data.train;;
validation_file; data.valid;;
text_column; data.train.source_field;; Of a table; `data.valid` has its own.
summary_column; data.train.target_field;; Of a table; `data.valid` has its own.
source_prefix; data.train.prefix;; Each source of data has its own.
max_source_length; data.max_length|generation.max_source_tokens;; `data.max_length` is for both sides.
max_target_length; data.max_length;; One limit is for both sides. Of answers it is `generation.max_new_tokens`.
disable_tqdm;;; it is `antiphon.train(..., quiet=True)`, and the flag `--quiet`.
""",
)
NETWORK = _table(
    "transformers",
    """
hidden_size; model.d_model;;
num_hidden_layers; model.encoder_layers|model.decoder_layers;;
num_encoder_layers; model.encoder_layers;;
num_decoder_layers; model.decoder_layers;;
num_attention_heads; model.num_heads;;
decoder_attention_heads; model.num_heads;; Both stacks have the same number.
num_key_value_heads; model.num_kv_heads;;
intermediate_size; model.ffn_dim;;
encoder_ffn_dim; model.ffn_dim;; Both stacks have the same.
decoder_ffn_dim; model.ffn_dim;; Both stacks have the same.
d_ff; model.ffn_dim;;
d_kv; model.head_dim;;
hidden_act; model.activation;;
activation_function; model.activation;;
dropout_rate; model.dropout;;
max_position_embeddings; model.max_length;;
n_positions; model.max_length;;
tie_word_embeddings; model.tie_embeddings;;
layer_norm_eps; model.norm_eps;;
rope_theta; model.rotary_base;; It needs `positions: rotary`.
vocab_size; tokenizer.vocab_size;;
""",
)
ADAPTERS = _table(
    "peft",
    """
r; training.adapter.rank;;
lora_r; training.adapter.rank;;
lora_alpha; training.adapter.alpha;;
lora_dropout; training.adapter.dropout;;
target_modules; training.adapter.targets;; Names such as q, v, q_proj and fc1 are accepted.
modules_to_save; training.adapter.trained;; Patterns of our names of weights, such as *norm*.
use_dora; training.adapter.kind; dora;
peft_type; training.adapter.kind;; It is lora or dora.
peft_config; training.adapter; {rank: 8, alpha: 16, targets: [q, v]};
use_rslora; training.adapter.alpha;; It is alpha times the square root of the rank.
rank_pattern; training.adapter.rank;; All layers have one rank.
alpha_pattern; training.adapter.alpha;; All layers have one alpha.
layers_to_transform; training.adapter.targets; [encoder.layers.0.*];
exclude_modules; training.adapter.targets;; List only the layers to adapt.
init_lora_weights;;; B begins as zero, as peft's default.
fan_in_fan_out;;; all layers are plain linear ones.
inference_mode;;; `antiphon.load(path, adapter=folder)` merges the adapter.
task_type;;; every model here has an encoder and a decoder.
""",
)
FAIRSEQ = _table(
    "fairseq",
    """
beam; generation.beam_size|validation.beam_size;;
nbest; generation.n_best;;
lenpen; generation.length_penalty;;
unkpen;;; the unknown token has no penalty of its own. `forbidden` excludes a text.
max_len_a; generation.max_new_tokens;; Without it the limit is 2 x source tokens + 32.
max_len_b; generation.max_new_tokens;; Without it the limit is 2 x source tokens + 32.
min_len; generation.min_new_tokens;;
unnormalized; generation.length_penalty; 0;
no_early_stop;;; a search ends when no open hypothesis can win, unless `patience` is set.
sampling; generation.temperature; 1.0; Without `temperature` nothing is sampled.
sampling_topk; generation.top_k;; It needs `temperature`.
sampling_topp; generation.top_p;; It needs `temperature`.
diverse_beam_groups; generation.beam_groups;;
diverse_beam_strength; generation.diversity_penalty;;
prefix_size; generation.prefix;; It takes the text with which answers begin.
remove_bpe;;; `.text` is always joined. `.tokens` are the subwords.
post_process;;; `.text` is always joined. `.tokens` are the subwords.
sacrebleu; validation.metrics; [bleu]; `antiphon evaluate --metrics bleu` measures a test set.
scoring; validation.metrics;; `antiphon evaluate --metrics` measures a test set.
eval_bleu; validation.metrics; [bleu];
max_tokens; training.batch_tokens|generation.max_new_tokens;;
max_sentences; training.batch_tokens|generation.batch_size;;
update_freq; training.accumulate;;
max_update; training.max_steps;;
max_epoch; training.max_epochs;;
warmup_updates; training.warmup_steps;;
lr_scheduler; training.schedule;;
adam_betas; training.betas;;
criterion; training.label_smoothing;; The loss is always cross-entropy.
arch; model.preset;; It is tiny, small, student, base or big.
encoder_embed_dim; model.d_model;;
encoder_ffn_embed_dim; model.ffn_dim;;
encoder_attention_heads; model.num_heads;;
share_all_embeddings; model.tie_embeddings; true;
share_decoder_input_output_embed; model.tie_embeddings; true;
encoder_normalize_before; model.norm_placement; pre;
save_dir; output;;
restore_file; model.base;; To continue a run, it is the flag `--resume`.
finetune_from_model; model.base;;
keep_last_epochs; training.keep_last;;
validate_interval_updates; validation.every_steps;;
best_checkpoint_metric; validation.keep_best;;
log_interval; training.log_every_steps;;
""",
)
SYNONYMS = {
    entry.name: entry for part in (SEARCH, SPEECH, LOAD, TRAINING, NETWORK, ADAPTERS, FAIRSEQ) for entry in part
}

_LOAD = "`antiphon.load(path)` reads the model with its tokenizers"
_TRAIN = "`antiphon.train(recipe)` trains with a recipe"
PUBLIC = {  # names that people look for in `antiphon` -> what is here
    "pipeline": f"{_LOAD}, and its `generate(texts)` answers",
    "AutoModel": _LOAD,
    "AutoModelForSeq2SeqLM": _LOAD,
    "AutoModelForSpeechSeq2Seq": _LOAD,
    "AutoConfig": f"{_LOAD}; `model.parts.model` is its configuration",
    "AutoTokenizer": f"{_LOAD}: `model.tokenizer`",
    "AutoProcessor": f"{_LOAD}, which takes sound files itself",
    "T5ForConditionalGeneration": _LOAD,
    "BartForConditionalGeneration": _LOAD,
    "MarianMTModel": _LOAD,
    "TransformerModel": _LOAD,
    "GenerationConfig": "search settings are keywords of `generate`, and `model.generation` has the folder's",
    "Trainer": _TRAIN,
    "Seq2SeqTrainer": _TRAIN,
    "TrainingArguments": f"{_TRAIN}; its section `training` has these",
    "Seq2SeqTrainingArguments": f"{_TRAIN}; its sections `training` and `validation` have these",
    "EarlyStoppingCallback": "`training.patience` in a recipe counts validations",
    "DataCollatorForSeq2Seq": "`antiphon.batches(pairs, tokenizer)` makes batches",
    "TextStreamer": "`model.stream(text)` gives the pieces of an answer",
    "TextIteratorStreamer": "`model.stream(text)` gives the pieces of an answer",
    "BitsAndBytesConfig": '`antiphon.load(path, quantize="int8")` has weights of eight bits',
    "LoraConfig": "`training.adapter` in a recipe has `kind`, `rank`, `alpha`, `dropout` and `targets`",
    "get_peft_model": "`training.adapter` in a recipe trains an adapter",
    "PeftModel": "`antiphon.load(path, adapter=folder)` merges an adapter",
    "set_seed": "`training.seed` and the keyword `seed` of `generate` are seeds",
}
METHODS = {  # names that people look for on a Model -> what is here
    "from_pretrained": "`antiphon.load(path)` reads a folder or a model of the hub",
    "save_pretrained": '`model.save(folder, format="huggingface")` writes a folder for transformers',
    "push_to_hub": '`model.save(folder, format="huggingface")` writes a folder, which `hf upload` takes',
    "config": "`model.parts.model` is the network's configuration",
    "generation_config": "`model.generation` has the search settings",
    "eval": "a model that was loaded is in evaluation mode",
    "train": _TRAIN,
    "to": "give `device` and `dtype` to `antiphon.load`",
    "cuda": "give `device` to `antiphon.load`",
    "half": "give `dtype` to `antiphon.load`",
    "device": "`model.network.device` is where it is",
    "parameters": "`model.network.parameters()` has the weights",
    "state_dict": "`model.network.state_dict()` has the weights",
    "get_input_embeddings": "`model.network.source.table` has the sources' vectors",
    "resize_token_embeddings": "`tokenizer: {add: [...]}` beside `model.base` in a recipe adds tokens",
    "load_adapter": "`antiphon.load(path, adapter=folder)` merges an adapter",
    "merge_and_unload": "`antiphon.load(path, adapter=folder)` merges an adapter",
    "translate": "`model.generate(texts)` answers",
    "batch_decode": "answers have their `.text`; `model.target_tokenizer.decode(ids)` decodes",
    "compute_transition_scores": "answers have their `.score`, and `model.score` gives that of any text",
}
