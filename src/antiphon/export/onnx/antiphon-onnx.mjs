// Answers from the files of `antiphon export --to onnx`, in a browser (onnxruntime-web) or in Node (onnxruntime-node):
//
//     import * as ort from "onnxruntime-web";
//     import { Tokenizer } from "@huggingface/tokenizers";
//     import { OnnxModel } from "./antiphon-onnx.mjs";
//     const model = await OnnxModel.load(ort, "./out", { Tokenizer });
//     await model.generate("in 3 hours");                  // "in 3 Stunden", by greedy search
//
// Without `Tokenizer`, `generateIds` takes and gives ids.

const ints = (ort, values, dims) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), dims);

export class OnnxModel {
  constructor(ort, about, sessions, tokenizers) {
    Object.assign(this, { ort, about, sessions, tokenizers });
    this.merged = "decoder" in sessions;
  }

  /** Load the folder at `url`. `options` are those of InferenceSession.create. */
  static async load(ort, url, { Tokenizer = null, options = {} } = {}) {
    const json = async (name) => {
      const answer = await fetch(`${url}/${name}`);
      if (!answer.ok) throw new Error(`${url}/${name} must be there, but the answer is ${answer.status}`);
      return answer.json();
    };
    const about = await json("onnx.json");
    const sessions = {};
    for (const [role, file] of Object.entries(about.files)) {
      const beside = about.external_data[role];
      const externalData = beside ? [{ path: beside, data: `${url}/${beside}` }] : undefined;
      sessions[role] = await ort.InferenceSession.create(`${url}/${file}`, { ...options, externalData });
    }
    const tokenizers = Tokenizer === null ? null : await readTokenizers(Tokenizer, json, about);
    return new OnnxModel(ort, about, sessions, tokenizers);
  }

  /** The greedy answer to a text. */
  async generate(text, maxNewTokens = null) {
    if (this.tokenizers === null) throw new Error("load the model with a Tokenizer, or call generateIds");
    const framed = this.about.template ? this.about.template.replace("{}", () => text) : text;
    const [before, after] = this.about.source_frame;
    const { ids } = this.tokenizers.source.encode(framed, { add_special_tokens: false });
    const found = await this.generateIds([...before, ...ids, ...after], maxNewTokens);
    return found.length ? this.tokenizers.target.decode(found, { skip_special_tokens: true }) : "";
  }

  /** The ids of the greedy answer to a row of source ids, without first and end tokens. */
  async generateIds(source, maxNewTokens = null) {
    const { about, ort } = this;
    if (source.length > about.max_source_tokens) {
      throw new Error(`a source must have at most ${about.max_source_tokens} tokens, but has ${source.length}`);
    }
    const most = about.max_target_tokens - about.ids.first.length;
    const limit = Math.min(maxNewTokens ?? 2 * source.length + 32, most);
    const mask = ints(ort, source.map(() => 1), [1, source.length]);
    const encoded = await this.sessions.encoder.run({
      input_ids: ints(ort, source, [1, source.length]), attention_mask: mask,
    });
    const given = { encoder_attention_mask: mask, encoder_hidden_states: encoded.last_hidden_state };
    const answer = [];
    let ids = [about.ids.start, ...about.ids.first], past = null;
    let suppressed = new Set([...about.ids.suppressed, ...about.ids.suppressed_first]);
    while (answer.length < limit) {
      const { logits, cache } = await this.step(ids, given, past);
      const best = argmax(logits, suppressed);
      if (best === about.ids.end || (about.ids.force_end && answer.length + 1 === limit)) break;
      answer.push(best);
      [ids, past, suppressed] = [[best], cache, new Set(about.ids.suppressed)];
    }
    return answer;
  }

  /** One step of the decoder: the next ids to the logits, and the cache with their keys and values. */
  async step(ids, given, past) {
    const { about, ort } = this;
    const first = past === null;
    const session = this.merged ? this.sessions.decoder : first ? this.sessions.first_step : this.sessions.next_step;
    const feeds = { ...given, input_ids: ints(ort, ids, [1, ids.length]) };
    if (this.merged) {
      feeds.use_cache_branch = new ort.Tensor("bool", [!first], [1]);
      for (const [name, dims] of Object.entries(first ? about.past_shapes : {})) {
        feeds[name] = new ort.Tensor("float32", new Float32Array(0), dims);
      }
    } else if (!first) {
      delete feeds.encoder_hidden_states;
    }
    // The source's part of the cache is that of the first step.
    const names = session.outputNames.filter((name) => first || !name.includes(".encoder."));
    const found = await session.run({ ...feeds, ...past }, names);
    const cache = { ...past };
    for (const name of names.slice(1)) cache[name.replace("present", "past_key_values")] = found[name];
    return { logits: found.logits, cache };
  }
}

async function readTokenizers(Tokenizer, json, about) {
  const config = about.tokenizers === "huggingface" ? await json("tokenizer_config.json") : {};
  const one = async (name) => new Tokenizer(await json(name), config);
  try {
    const whole = await one("tokenizer.json");
    return { source: whole, target: whole };
  } catch (error) {
    if (about.tokenizers === "huggingface") throw error;
    return { source: await one("source.json"), target: await one("target.json") };
  }
}

/** The id with the largest logit at the last position, of those that are not suppressed. */
function argmax(logits, suppressed) {
  const size = logits.dims[2], start = logits.data.length - size;
  let best = -1;
  for (let id = 0; id < size; id++) {
    if (!suppressed.has(id) && (best < 0 || logits.data[start + id] > logits.data[start + best])) best = id;
  }
  return best;
}
