// The charts, in groups. Only those on the screen read figures and draw.
import { Chart } from "./chart.js";
import { element, fill } from "./dom.js";
import { specsOf } from "./specs.js";
import { isShown, view } from "./view.js";

export function createCharts(store) {
  const root = document.getElementById("charts");
  const charts = new Map();
  let layout = "";
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = charts.get(target.dataset.chart);
        if (chart) chart.near = isIntersecting;
      }
      if (entries.some(({ isIntersecting }) => isIntersecting)) document.dispatchEvent(new CustomEvent("needed"));
    },
    { rootMargin: "300px" },
  );
  const isOnScreen = ({ node }) => {
    const { top, bottom } = node.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  };
  const drawSome = (some) => {
    const shown = store.runs.filter(isShown);
    const full = fullRange(shown);
    for (const chart of some) chart.draw(shown, full);
  };

  function arrange() {
    const groups = specsOf(store.runs);
    const next = JSON.stringify(groups);
    if (next === layout) return;
    layout = next;
    for (const { charts: specs } of groups) {
      for (const spec of specs) {
        if (!charts.has(spec.id)) {
          const chart = new Chart(spec);
          charts.set(spec.id, chart);
          chart.label();
          observer.observe(chart.node);
        }
      }
    }
    fill(
      root,
      ...groups.map(({ id, charts: specs }) =>
        element(
          "section",
          { class: "group", "aria-labelledby": `group-${id}` },
          element("h2", { id: `group-${id}`, t: `group.${id}` }),
          element("div", { class: "grid" }, ...specs.map((spec) => charts.get(spec.id).node)),
        ),
      ),
    );
  }

  return {
    arrange,
    // The figures that the charts on the screen draw.
    needed: () => [...charts.values()].filter(({ near }) => near).flatMap(({ spec }) => spec.names),
    draw: () => drawSome([...charts.values()].filter((chart) => chart.near && isOnScreen(chart))),
    drawNear: () => drawSome([...charts.values()].filter((chart) => chart.near && !isOnScreen(chart))),
    colours() {
      for (const chart of charts.values()) {
        chart.forget();
        chart.label();
      }
    },
  };
}

// The positions of all shown runs on the chosen axis, from zero.
export function fullRange(runs) {
  const name = { step: "step", time: "time_seconds", tokens: "tokens" }[view.axis];
  let [low, high] = [0, 0];
  for (const run of runs) {
    const column = run.positions[name];
    if (column.length) [low, high] = [Math.min(low, column.data[0]), Math.max(high, column.data[column.length - 1])];
  }
  return high > low ? [low, high] : [low, low + 1];
}
