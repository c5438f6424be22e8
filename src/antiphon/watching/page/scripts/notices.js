// What a reader must know about the logs: a run that is gone, lines that cannot be read, a server that has ended.
import { element, fill } from "./dom.js";
import { t } from "./texts.js";

const OPEN_LINE_SECONDS = 20; // a line that is being written is complete sooner

export function showNotices(store) {
  const texts = [];
  if (!store.reached) texts.push(["notice.ended", true]);
  for (const { name, summary } of store.runs) {
    if (summary.problem === "gone") texts.push([t("notice.gone", { name }), true]);
    if (summary.bad_lines) texts.push([t("notice.bad_lines", { name, count: summary.bad_lines }), true]);
    if (summary.open_line && summary.age_seconds > OPEN_LINE_SECONDS) texts.push([t("notice.open_line", { name }), false]);
  }
  const root = document.getElementById("notices");
  const next = JSON.stringify([document.documentElement.lang, texts]);
  if (root.dataset.shown === next) return;
  root.dataset.shown = next;
  fill(root, ...texts.map(([text, bad]) => element("div", { class: bad ? "notice bad" : "notice" }, element("div", {}, text.startsWith("notice.") ? t(text) : text))));
}
