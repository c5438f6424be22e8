// The values at the pointer: of each run the row that is nearest, as it was logged.
import { classOf } from "./colours.js";
import { element, fill } from "./dom.js";
import { figure, position } from "./format.js";
import { nearest } from "./series.js";
import { t } from "./texts.js";
import { view } from "./view.js";

const MAX_ROWS = 12;

// run -> { figure name -> { value, drawn } }, highest first.
function rowsOf(chart) {
  const [low, high] = chart.range;
  const rows = new Map();
  for (const { run, figure: own, figureName, x, raw, values } of chart.curves) {
    const place = nearest(own, x, chart.at);
    const at = x[own.rows.data[place]];
    if (place < 0 || at < low - 1e-9 || at > high + 1e-9) continue;
    rows.set(run, { ...rows.get(run), [figureName]: { value: raw[place], drawn: values[place] } });
  }
  const first = ([, found]) => Object.values(found)[0].value;
  return [...rows].sort((a, b) => first(b) - first(a));
}

// The values at the chosen position as a sentence, which a screen reader reads.
export function tipText(chart) {
  const { names } = chart.spec;
  const parts = rowsOf(chart).flatMap(([run, found]) =>
    names.filter((name) => found[name]).map((name) => `${run.name}${name === names[0] ? "" : ` (${t("chart.validation")})`} ${figure(name, found[name].value)}`),
  );
  return `${t(`axis.${view.axis}`)} ${position(view.axis, chart.at)}: ${parts.join(", ")}`;
}

export function showTip(chart, left) {
  const rows = rowsOf(chart);
  if (rows.length === 0) {
    hideTip(chart);
    return;
  }
  const names = chart.spec.names.filter((name) => rows.some(([, found]) => found[name]));
  const smoothed = view.smooth > 0 && names.length === 1;
  const heads = names.length > 1 ? ["chart.training", "chart.validation"] : ["chart.logged", "chart.smoothed"];
  const head = (names.length > 1 || smoothed) && element("tr", {}, element("td", {}), ...heads.map((key) => element("th", { scope: "col", t: key })));
  const lines = rows.slice(0, MAX_ROWS).map(([run, found]) =>
    element(
      "tr",
      {},
      element("td", {}, element("span", { class: `swatch ${classOf(run.number)}` }), element("span", { class: "tip-name" }, run.name)),
      ...names.map((name) => element("td", { class: "figure" }, found[name] ? figure(name, found[name].value) : "")),
      smoothed && element("td", { class: "figure muted" }, figure(names[0], found[names[0]].drawn)),
    ),
  );
  fill(
    chart.tip,
    element("p", { class: "tip-head" }, `${t(`axis.${view.axis}`)} ${position(view.axis, chart.at)}`),
    element("table", {}, element("tbody", {}, head, ...lines)),
    rows.length > MAX_ROWS && element("p", { class: "muted" }, t("chart.more", { count: rows.length - MAX_ROWS })),
  );
  chart.tip.hidden = false;
  const width = chart.tip.offsetWidth;
  const frame = chart.tip.parentNode.clientWidth;
  chart.tip.style.left = `${Math.max(0, Math.min(frame - width, left - width / 2))}px`;
}

export function hideTip(chart) {
  chart.tip.hidden = true;
}
