// The view: which runs, which axis, smoothing, zoom. It is in the address, so that a link shows the same.

export const AXES = ["step", "time", "tokens"];
export const POSITION_OF = { step: "step", time: "time_seconds", tokens: "tokens" };
const EMPTY = { axis: "step", smooth: 0, range: null, log: [], large: [], hidden: [] };

export const view = { ...EMPTY };

const list = (text) => (text ? text.split(",").map(decodeURIComponent) : []);
const number = (text) => (text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null);

export function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  const [from, to] = [number(found.get("from")), number(found.get("to"))];
  Object.assign(view, EMPTY, {
    axis: AXES.includes(found.get("x")) ? found.get("x") : "step",
    smooth: Math.min(0.2, Math.max(0, number(found.get("smooth")) ?? 0)),
    range: from !== null && to !== null && from < to ? [from, to] : null,
    log: list(found.get("log")),
    large: list(found.get("large")),
    hidden: list(found.get("hide")),
  });
}

function addressOf() {
  const parts = [];
  const add = (name, value) => parts.push(`${name}=${value}`);
  if (view.axis !== "step") add("x", view.axis);
  if (view.smooth) add("smooth", view.smooth);
  if (view.range) view.range.forEach((edge, place) => add(place ? "to" : "from", Number(edge.toPrecision(6))));
  for (const [name, key] of [["log", "log"], ["large", "large"], ["hide", "hidden"]]) {
    if (view[key].length) add(name, view[key].map(encodeURIComponent).map(encodeURIComponent).join(","));
  }
  return `#${parts.join("&")}`;
}

// Change the view, write it into the address, and tell the parts of the page: `view`, and `chosen` if it is about which
// runs are shown.
export function change(values) {
  Object.assign(view, values);
  history.replaceState(null, "", addressOf());
  if ("hidden" in values) document.dispatchEvent(new CustomEvent("chosen"));
  document.dispatchEvent(new CustomEvent("view"));
}

export function toggle(key, name) {
  change({ [key]: view[key].includes(name) ? view[key].filter((each) => each !== name) : [...view[key], name] });
}

export const isShown = (run) => !view.hidden.includes(run.name);
