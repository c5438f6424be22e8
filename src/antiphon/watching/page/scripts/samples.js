// Sample answers of the validations: for each source the answers of the runs side by side, at a step that the reader
// chooses, with the words that changed since the answer before.
import { fetchSamples } from "./api.js";
import { classOf } from "./colours.js";
import { element, fill } from "./dom.js";
import { number } from "./format.js";
import { setText, t } from "./texts.js";
import { isShown } from "./view.js";
import { changesOf } from "./words.js";

const SHOWN = 5; // sources at first
const MORE = 20;

export function createSamples(store) {
  const root = document.getElementById("samples");
  const known = new Map(); // name of a run -> { generation, rows }
  let chosen = null; // a step; null is the newest
  let most = SHOWN;
  const slider = element("input", { type: "range", min: "0", id: "sample-step", on: { input: choose } });
  const shown = element("output", { for: "sample-step", class: "figure" });
  const bar = element("div", { class: "sample-step" }, element("label", { for: "sample-step", t: "samples.step" }), slider, shown);
  const cards = element("div", { class: "sample-cards" });
  const more = element("button", { type: "button", t: "samples.more", on: { click: () => ((most += MORE), show()) } });
  fill(root, element("div", { class: "samples-head" }, element("h2", { id: "samples-title", t: "samples" }), bar), cards, more);

  async function read() {
    const asked = store.runs.filter((run) => isShown(run) && run.summary.samples > 0);
    await Promise.all(
      asked.map(async (run) => {
        const { generation, rows } = known.get(run.name) ?? { generation: 0, rows: [] };
        const { samples, sample_generation: current } = run.summary;
        if (generation === current && rows.length === samples) return;
        const found = await fetchSamples(run.name, rows.length, generation);
        known.set(run.name, { generation: found.generation, rows: [...rows.slice(0, found.start), ...found.rows] });
      }),
    ).catch(() => undefined);
    show();
  }

  function stepsOf(runs) {
    return [...new Set(runs.flatMap((run) => known.get(run.name).rows.map(({ step }) => step)))].sort((a, b) => a - b);
  }

  function choose() {
    const steps = stepsOf(shownRuns());
    const place = Number(slider.value);
    chosen = place >= steps.length - 1 ? null : steps[place];
    show();
  }

  const shownRuns = () => store.runs.filter((run) => isShown(run) && known.has(run.name));

  function show() {
    const runs = shownRuns();
    root.hidden = runs.length === 0;
    if (root.hidden) return;
    const steps = stepsOf(runs);
    const step = chosen ?? steps.at(-1);
    slider.max = String(steps.length - 1);
    if (document.activeElement !== slider) slider.value = String(steps.findLastIndex((each) => each <= step));
    bar.hidden = steps.length < 2;
    shown.textContent = number(step);
    slider.setAttribute("aria-valuetext", t("samples.at", { step: number(step) }));
    const sources = bySource(runs, step);
    fill(cards, ...[...sources.values()].slice(0, most).map(card));
    more.hidden = sources.size <= most;
  }

  // source and reference -> its answers: [{ run, answers: [{ step, answer }, ...] }], up to a step.
  function bySource(runs, step) {
    const found = new Map();
    for (const run of runs) {
      for (const row of known.get(run.name).rows) {
        if (row.step > step) break;
        const key = JSON.stringify([row.source, row.reference]);
        if (!found.has(key)) found.set(key, { source: row.source, reference: row.reference, runs: new Map() });
        const { runs: own } = found.get(key);
        if (!own.has(run)) own.set(run, []);
        if (own.get(run).at(-1)?.step !== row.step) own.get(run).push({ step: row.step, answer: String(row.answer) });
      }
    }
    return found;
  }

  return { read, show };
}

function card({ source, reference, runs }) {
  return element(
    "article",
    { class: "card sample" },
    element("dl", { class: "pair" }, ...[["samples.source", source], ["samples.reference", reference]].map(([key, text]) => element("div", {}, element("dt", { t: key }), element("dd", { dir: "auto" }, String(text))))),
    element("div", { class: "answers" }, ...[...runs].map(([run, answers]) => answerOf(run, answers, String(reference)))),
  );
}

function answerOf(run, answers, reference) {
  const last = answers.at(-1);
  const before = answers.findLast(({ answer }) => answer !== last.answer);
  const since = before ? answers[answers.indexOf(before) + 1].step : answers[0].step;
  const words = before ? changesOf(last.answer, before.answer) : [{ word: last.answer, changed: false }];
  const equal = last.answer.trim() === reference.trim();
  const note = element("p", { class: "small" });
  setText(note, "text", before ? ["samples.since", { step: () => number(since) }] : ["samples.same", { step: () => number(since) }]);
  const history = distinct(answers);
  return element(
    "div",
    { class: "answer" },
    element("p", { class: "answer-run" }, element("span", { class: `swatch ${classOf(run.number)}` }), element("bdi", {}, run.name), equal && element("span", { class: "equal", t: "samples.equal" })),
    element("p", { class: "answer-words", dir: "auto" }, ...(last.answer === "" ? [element("span", { class: "muted", t: "samples.nothing" })] : words.map(({ word, changed }) => (changed ? element("mark", {}, word) : word)))),
    history.length > 1
      ? element("details", { data: { key: `${run.name}` } }, element("summary", {}, note), element("ol", { class: "history" }, ...history.reverse().map(({ step, answer }) => element("li", {}, element("span", { class: "figure muted" }, number(step)), element("span", { dir: "auto" }, answer)))))
      : note,
  );
}

// The answers without those that are as the one before.
function distinct(answers) {
  return answers.filter(({ answer }, place) => place === 0 || answers[place - 1].answer !== answer);
}
