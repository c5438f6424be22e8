// The list of runs: which are drawn, how far each is, and its last figures.
import { classOf } from "./colours.js";
import { button, element, fill } from "./dom.js";
import { duration, figure, number, percent, titleOf } from "./format.js";
import { setText, t } from "./texts.js";
import { change, isShown, toggle, view } from "./view.js";

const FILTER_FROM = 6; // runs
const NEWS_SECONDS = 60;

export function createRuns(store) {
  const root = document.getElementById("runs");
  const rows = new Map();
  const list = element("ul", { class: "run-list" });
  const filter = element("input", { type: "text", id: "run-filter", placeholder: "runs.filter", label: "runs.filter", autocomplete: "off", spellcheck: "false", on: { input: show } });
  const matching = () => store.runs.filter((run) => run.name.toLowerCase().includes(filter.value.trim().toLowerCase()));
  const all = button("runs.all", () => change({ hidden: view.hidden.filter((name) => !matching().some((run) => run.name === name)) }), { class: "small-button" });
  const none = button("runs.none", () => change({ hidden: [...new Set([...view.hidden, ...matching().map(({ name }) => name)])] }), { class: "small-button" });
  const count = element("span", { class: "muted figure" });
  fill(
    root,
    element("div", { class: "runs-head" }, element("h2", { id: "runs-title", t: "runs" }), count, element("div", { class: "tools" }, all, none)),
    filter,
    list,
  );

  function rowOf(run) {
    if (!rows.has(run.name)) {
      const box = element("input", { type: "checkbox", id: `run-${run.number}`, on: { change: () => toggle("hidden", run.name) } });
      const name = element("span", { class: "run-name" }, element("bdi", {}, run.name));
      const state = element("p", { class: "run-state" });
      const bar = element("progress", { max: "1", label: ["runs.progress", { name: run.name }] });
      const figures = element("dl", { class: "run-figures" });
      const only = button("runs.only", () => change({ hidden: store.runs.filter((each) => each !== run).map((each) => each.name) }), { class: "plain only", label: ["runs.only.label", { name: run.name }] });
      const node = element(
        "li",
        { class: `run ${classOf(run.number)}` },
        element("div", { class: "run-line" }, element("label", { class: "check", title: run.summary.folder }, box, element("span", { class: `swatch ${classOf(run.number)}` }), name), only),
        state,
        bar,
        figures,
      );
      rows.set(run.name, { node, box, state, bar, figures });
    }
    return rows.get(run.name);
  }

  function show() {
    filter.hidden = store.runs.length < FILTER_FROM;
    const shown = matching();
    for (const run of shown) {
      const { box, state, bar, figures } = rowOf(run);
      box.checked = isShown(run);
      const progress = progressOf(run);
      state.textContent = progress.text;
      state.classList.toggle("bad", run.summary.problem !== "");
      bar.hidden = progress.share === null;
      if (progress.share !== null) bar.value = progress.share;
      fill(figures, ...figuresOf(run));
    }
    const nodes = shown.map((run) => rowOf(run).node);
    if (nodes.length !== list.children.length || nodes.some((node, place) => list.children[place] !== node)) fill(list, ...nodes);
    setText(count, "text", ["runs.count", { shown: store.runs.filter(isShown).length, all: store.runs.length }]);
    all.hidden = none.hidden = store.runs.length < 2;
    root.classList.toggle("single", store.runs.length < 2);
  }

  return { show };
}

// How far a run is: a sentence, and the share that is done if it is known.
export function progressOf({ summary, seen }) {
  const { last, age_seconds: age, problem, read } = summary;
  if (problem === "gone") return { text: t("state.gone"), share: null };
  if (problem) return { text: t("state.problem", { problem }), share: null };
  if (last.step === null || last.step === undefined) return { text: t("state.empty"), share: null };
  const step = t("state.step", { step: number(last.step) });
  if (read < 1) return { text: `${step} · ${t("state.reading", { share: percent(read) })}`, share: null };
  const left = last.seconds_left;
  const share = left === undefined ? null : last.time_seconds / (last.time_seconds + left || 1);
  if (left === 0) return { text: `${step} · ${t("state.finished", { time: duration(last.time_seconds) })}`, share: null };
  const old = age === null ? 0 : age + (Date.now() - seen) / 1000;
  if (old > Math.max(NEWS_SECONDS, 5 * (summary.row_seconds ?? 0))) return { text: `${step} · ${t("state.quiet", { time: duration(old) })}`, share };
  const ahead = left === undefined ? t("state.running") : t("state.left", { time: duration(Math.max(0, left - old)) });
  return { text: `${step} · ${ahead}`, share };
}

function figuresOf({ summary: { last, figures } }) {
  const known = ["loss", "valid_loss", "lr", "grad_norm", "nll", "seconds_left", "trainable_parameters", "tokens_per_second", "padding_waste", "step_seconds", "peak_memory_bytes"];
  const metric = figures.find((name) => !known.includes(name) && !name.startsWith("entropy_"));
  const names = ["loss", "valid_loss", metric].filter((name) => name && last[name] !== undefined);
  return names.map((name) => element("div", {}, element("dt", {}, titleOf(name)), element("dd", { class: "figure" }, figure(name, last[name]))));
}
