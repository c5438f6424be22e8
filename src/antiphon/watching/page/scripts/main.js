// The page: it asks the server for what is new and draws it; the view is in the address.
import { createCharts } from "./charts.js";
import { forgetColours } from "./colours.js";
import { createControls } from "./controls.js";
import { createDifferences } from "./differences.js";
import { later } from "./dom.js";
import { showNotices } from "./notices.js";
import { createRuns } from "./runs.js";
import { createSamples } from "./samples.js";
import { recall, remember } from "./storage.js";
import { Store } from "./store.js";
import { startTexts, t } from "./texts.js";
import { isShown, readAddress } from "./view.js";

const SECONDS = 2;
const WHILE_READING_SECONDS = 0.5;

function startTheme(redraw) {
  const select = document.getElementById("theme");
  select.value = recall("theme", "auto");
  select.addEventListener("change", () => {
    remember("theme", select.value);
    if (select.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

async function start() {
  readAddress();
  await startTexts();
  const store = new Store();
  const charts = createCharts(store);
  const parts = { runs: createRuns(store), controls: createControls(store), samples: createSamples(store), differences: createDifferences(store) };
  let due = false;
  const showRuns = () => (parts.runs.show(), parts.samples.show(), parts.differences.show());

  // At most one drawing a frame: first what is on the screen, then what is near it.
  function draw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      parts.controls.show();
      charts.draw();
      document.dispatchEvent(new CustomEvent("drawn")); // benchmarks/watch_page.py waits for it
      drawNear();
    });
  }
  const drawNear = later(() => charts.drawNear(), 80);

  async function fetchNeeded() {
    if (await store.fetch(store.runs.filter(isShown), charts.needed())) draw();
  }

  async function turn() {
    if (!document.hidden) {
      await store.refresh();
      charts.arrange();
      showNotices(store);
      parts.runs.show();
      draw();
      await fetchNeeded();
      document.title = titleOf(store);
      await parts.samples.read();
      await parts.differences.read();
    }
    const reading = store.runs.some(({ summary }) => summary.read < 1);
    setTimeout(turn, 1000 * (reading ? WHILE_READING_SECONDS : SECONDS));
  }

  document.addEventListener("view", () => {
    draw();
    void fetchNeeded();
  });
  document.addEventListener("chosen", showRuns);
  document.addEventListener("needed", () => (draw(), void fetchNeeded()));
  document.addEventListener("redraw", draw);
  const restyle = () => (forgetColours(), charts.colours(), draw());
  document.addEventListener("language", () => (restyle(), showNotices(store), showRuns()));
  startTheme(restyle);
  addEventListener("hashchange", () => (readAddress(), showRuns(), document.dispatchEvent(new CustomEvent("view"))));
  addEventListener("resize", draw);
  await turn();
}

// The tab shows how far a single run is.
function titleOf(store) {
  const names = store.runs.filter(isShown).map(({ name }) => name);
  return names.length === 1 ? `${names[0]} · Antiphon` : t("title", { count: store.runs.length });
}

void start();
