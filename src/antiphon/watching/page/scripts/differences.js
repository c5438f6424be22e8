// In which settings the runs differ.
import { fetchSettings } from "./api.js";
import { classOf } from "./colours.js";
import { element, fill } from "./dom.js";
import { isShown } from "./view.js";

const HIDDEN = new Set(["output", "folder"]);

export function createDifferences(store) {
  const root = document.getElementById("settings");
  let settings = {};
  let asked = "";

  async function read() {
    const now = store.runs.map((run) => `${run.name} ${run.summary.generation} ${run.summary.rows > 0}`).join();
    if (now === asked) return;
    asked = now;
    try {
      settings = await fetchSettings();
    } catch {
      asked = "";
    }
    show();
  }

  function show() {
    const runs = store.runs.filter((run) => isShown(run) && Object.keys(settings[run.name] ?? {}).length > 0);
    const keys = [...new Set(runs.flatMap((run) => Object.keys(settings[run.name])))].filter((key) => !HIDDEN.has(key));
    const different = keys.filter((key) => new Set(runs.map((run) => settings[run.name][key])).size > 1);
    root.hidden = runs.length < 2 || different.length === 0;
    if (root.hidden) return;
    const head = element("tr", {}, element("th", { scope: "col", t: "settings.name" }), ...runs.map((run) => element("th", { scope: "col" }, element("span", { class: `swatch ${classOf(run.number)}` }), element("bdi", {}, run.name))));
    const lines = different.map((key) =>
      element("tr", {}, element("th", { scope: "row" }, key), ...runs.map((run) => element("td", {}, settings[run.name][key] ?? "–"))),
    );
    fill(
      root,
      element("h2", { id: "settings-title", t: "settings" }),
      element("div", { class: "card scroll", tabindex: "0", role: "region", "aria-labelledby": "settings-title" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines))),
    );
  }

  return { read, show };
}
