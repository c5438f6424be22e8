// One chart: a figure of several runs, drawn by uPlot. It is drawn when it is on the screen and something changed.
import { colourOf, dashOf, inkOf } from "./colours.js";
import { announce, element } from "./dom.js";
import { marks, titleOf, valueMarks } from "./format.js";
import { rangeOf, smooth, thin } from "./series.js";
import { t } from "./texts.js";
import { hideTip, showTip, tipText } from "./tip.js";
import { change, POSITION_OF, toggle, view } from "./view.js";

const HEIGHT = 230;
const LARGE_HEIGHT = 420;
const MAX_POINTS_SHOWN = 60;
const MAX_RUNS_WITH_FAINT = 6; // more: the smoothed curves alone
const DENSE = 5000; // rows
const PIXELS_WHERE_DENSE = 1;
const SYNC = "positions";
const EDGE = 0.02;
// Between the marks of an axis of time: seconds, minutes, hours, days.
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 4320000];

export class Chart {
  constructor(spec) {
    this.spec = spec;
    this.near = false; // the screen: its figures are read
    this.plot = null;
    this.shape = "";
    this.curves = [];
    this.at = null; // the position that the keyboard or pointer chose
    this.body = element("div", { class: "plot", tabindex: "0", role: "group", on: { keydown: (event) => this.key(event) } });
    this.tip = element("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.empty = element("p", { class: "empty muted" });
    this.title = element("h3", { class: "chart-title" });
    const tool = (key, name) =>
      element("button", { type: "button", class: "tool", "aria-pressed": "false", t: `chart.${key}`, hint: `chart.${key}.hint`, on: { click: () => toggle(name, spec.id) } });
    this.logButton = tool("log", "log");
    this.largeButton = tool("large", "large");
    this.note = element("span", { class: "chart-note muted" });
    const head = element("div", { class: "chart-head" }, this.title, this.note, element("div", { class: "tools" }, this.logButton, this.largeButton));
    this.node = element("figure", { class: "card chart", data: { chart: spec.id } }, head, element("div", { class: "frame" }, this.body, this.empty, this.tip));
    this.body.addEventListener("pointerleave", () => hideTip(this));
    this.body.addEventListener("blur", () => hideTip(this));
    this.body.addEventListener("pointermove", (event) => event.pointerType === "touch" && this.touch(event));
    this.body.addEventListener("pointerdown", (event) => event.pointerType === "touch" && this.touch(event));
    new ResizeObserver(() => this.resize()).observe(this.body);
  }

  get log() {
    return view.log.includes(this.spec.id);
  }

  get large() {
    return view.large.includes(this.spec.id);
  }

  // Of the view and not of the last drawing, so that keys that follow each other fast act on what the one before chose.
  get range() {
    return view.range ?? this.full;
  }

  // Make the plot anew at the next drawing: colours, language or size of text changed.
  forget() {
    this.shape = "";
  }

  draw(runs, full) {
    this.label();
    this.full = full;
    const [low, high] = this.range;
    const name = POSITION_OF[view.axis];
    this.curves = runs.flatMap((run) => this.curvesOf(run, name));
    const width = Math.max(50, Math.round(this.body.clientWidth));
    this.empty.hidden = this.curves.length > 0;
    this.body.hidden = this.curves.length === 0;
    if (this.curves.length === 0) {
      const expected = runs.some((run) => this.spec.names.some((each) => run.summary.figures.includes(each) && !run.figures.has(each)));
      this.empty.textContent = expected ? t("chart.reading") : t("chart.empty");
      return;
    }
    const values = rangeOf(this.curves, low, high, this.log);
    const faint = view.smooth > 0 && runs.length <= MAX_RUNS_WITH_FAINT;
    const layers = faint ? [...this.curves.map((curve) => ({ ...curve, values: curve.raw, extremes: curve.figure.extremes, faint: true })), ...this.curves] : this.curves;
    const columns = Math.max(20, Math.round((width - 70) / (this.curves.some(({ figure }) => figure.length > DENSE) ? PIXELS_WHERE_DENSE : 1)));
    const { positions, curves, counts } = thin(layers, low, high, columns);
    layers.forEach((layer, place) => (layer.count = counts[place]));
    this.make(layers, width);
    this.values = padded(values, this.log);
    this.layers = layers;
    layers.forEach(({ count }, place) => (this.plot.series[place + 1].width = count > 2 * columns ? 1 : this.plot.series[place + 1].width0));
    this.plot.batch(() => {
      this.plot.setData([positions, ...curves], false);
      this.plot.setScale("x", { min: low, max: high });
      this.plot.setScale("y", { min: this.values[0], max: this.values[1] });
    });
  }

  curvesOf(run, name) {
    return this.spec.names.flatMap((figureName, place) => {
      const figure = run.figures.get(figureName);
      if (!figure?.length) return [];
      const raw = figure.values.data;
      const { values, extremes } = view.smooth ? smooth(figure, run.positions, name, view.smooth) : { values: raw, extremes: figure.extremes };
      return [{ run, figure, figureName, second: place > 0, x: run.positions[name].data, raw, values, extremes }];
    });
  }

  label() {
    const title = this.spec.names.length > 1 ? t("chart.losses") : titleOf(this.spec.id);
    this.title.textContent = title;
    this.note.textContent = this.curves.some(({ second }) => second) ? t("chart.dashed") : "";
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.largeButton.setAttribute("aria-pressed", String(this.large));
    this.node.classList.toggle("large", this.large);
    this.body.setAttribute("aria-label", t("chart.label", { title, axis: t(`axis.${view.axis}`) }));
  }

  make(layers, width) {
    const height = this.large ? LARGE_HEIGHT : HEIGHT;
    const shape = JSON.stringify([layers.map(({ run, figureName, faint }) => [run.number, figureName, faint]), this.log, view.axis, view.smooth > 0]);
    if (this.plot && shape === this.shape) {
      if (this.plot.width !== width || this.plot.height !== height) this.plot.setSize({ width, height });
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    this.plot = new window.uPlot(this.options(layers, width, height), null, this.body);
  }

  options(layers, width, height) {
    const { text, grid } = inkOf();
    const axis = { stroke: text, font: "12px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
    return {
      width,
      height,
      legend: { show: false },
      scales: {
        x: { time: false, range: (plot, min, max) => [min, max] },
        y: { distr: this.log ? 3 : 1, range: (plot, min, max) => [min, max] },
      },
      axes: [
        { ...axis, space: 64, size: 32, values: (plot, found) => marks(view.axis, found), ...(view.axis === "time" ? { incrs: SECONDS } : {}) },
        { ...axis, space: 36, size: 58, values: (plot, found) => valueMarks(this.spec.id, found), ...(this.log ? logAxis(axis) : {}) },
      ],
      series: [{}, ...layers.map((layer, place) => this.seriesOf(layer, place))],
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: 4 },
        points: { show: false },
        sync: { key: SYNC, scales: ["x", null], setSeries: false },
        bind: { dblclick: () => () => change({ range: null }) },
      },
      hooks: { setSelect: [(plot) => this.select(plot)], setCursor: [(plot) => this.hover(plot)] },
    };
  }

  seriesOf({ run, second, faint }, place) {
    return {
      stroke: colourOf(run.number, faint),
      width: faint ? 1 : 1.6,
      width0: faint ? 1 : 1.6,
      dash: second ? [5, 4] : dashOf(run.number),
      spanGaps: false,
      points: { show: () => !faint && (this.layers?.[place]?.count ?? 0) <= MAX_POINTS_SHOWN, size: 4 },
    };
  }

  // The reader dragged over a range.
  select(plot) {
    if (plot.select.width < 4) return;
    const range = [plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (range[1] > range[0]) change({ range });
  }

  hover(plot) {
    const here = this.body.matches(":hover") || document.activeElement === this.body || this.touched;
    if (!here || plot.cursor.left < 0) {
      hideTip(this);
      return;
    }
    this.at = plot.posToVal(plot.cursor.left, "x");
    showTip(this, plot.cursor.left + plot.over.offsetLeft);
  }

  touch(event) {
    const bounds = this.plot?.over.getBoundingClientRect();
    if (!bounds) return;
    this.touched = true;
    const left = Math.min(bounds.width, Math.max(0, event.clientX - bounds.left));
    this.plot.setCursor({ left, top: 10 });
    this.touched = false;
  }

  key(event) {
    if (!this.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = this.range;
    const act = {
      ArrowLeft: () => this.move(event.shiftKey ? -0.1 : -0.01),
      ArrowRight: () => this.move(event.shiftKey ? 0.1 : 0.01),
      Home: () => this.move(-2),
      End: () => this.move(2),
      "+": () => zoom(0.5, this.full, this.at ?? (low + high) / 2),
      "-": () => zoom(2, this.full, this.at ?? (low + high) / 2),
      0: () => change({ range: null }),
      Escape: () => hideTip(this),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  move(share) {
    const [low, high] = this.range;
    const start = this.at !== null && this.at >= low && this.at <= high ? this.at : share < 0 ? high : low;
    this.at = Math.min(high, Math.max(low, start + share * (high - low)));
    this.plot.setCursor({ left: this.plot.valToPos(this.at, "x"), top: 10 });
    announce(tipText(this));
  }

  resize() {
    if (this.plot && this.body.clientWidth && this.body.clientWidth !== this.plot.width) document.dispatchEvent(new CustomEvent("redraw"));
  }
}

// Zoom by `factor` around `centre`, within `full`.
export function zoom(factor, full, centre) {
  const [low, high] = view.range ?? full;
  const middle = centre ?? (low + high) / 2;
  const length = (high - low) * factor;
  if (length >= full[1] - full[0]) {
    change({ range: null });
    return;
  }
  const share = (middle - low) / (high - low);
  const start = Math.min(Math.max(middle - share * length, full[0]), full[1] - length);
  change({ range: [start, start + length] });
}

// The values with some air, and never an empty range. On a log axis the air is a factor.
function padded(values, log) {
  if (!values) return log ? [0.1, 1] : [0, 1];
  const [low, high] = values;
  if (log) return high > low ? [low / (high / low) ** EDGE, high * (high / low) ** EDGE] : [low / 2, low * 2];
  const air = high > low ? EDGE * 2 * (high - low) : Math.abs(high) * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - air) : low - air, high + air];
}

const logAxis = ({ grid, ticks }) => ({ filter: decades, grid: { ...grid, filter: decades }, ticks: { ...ticks, filter: decades } });

// Of the marks of a log axis the decades, and 2 and 5 where there are few.
function decades(plot, marks) {
  const { min, max } = plot.scales.y;
  const few = Math.log10(max / min) < 1.5;
  return marks.map((mark) => {
    const lead = Number(mark.toExponential().split("e")[0]);
    return lead === 1 || (few && (lead === 2 || lead === 5)) ? mark : null;
  });
}
