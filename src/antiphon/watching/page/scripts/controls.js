// How all curves are drawn: the axis, smoothing, zoom, and a link to this view.
import { fullRange } from "./charts.js";
import { zoom } from "./chart.js";
import { button, copyText, element, fill } from "./dom.js";
import { number } from "./format.js";
import { t } from "./texts.js";
import { AXES, change, isShown, view } from "./view.js";

const STEPS = 100;
const MOST = 0.2; // of a run's length

// The slider is finer where smoothing is light.
const shareOf = (place) => (place === 0 ? 0 : Number(((place / STEPS) ** 2 * MOST).toPrecision(2)));
const placeOf = (share) => Math.round(STEPS * Math.sqrt(share / MOST));

export function createControls(store) {
  const root = document.getElementById("controls");
  const zoomed = (factor) => zoom(factor, fullRange(store.runs.filter(isShown)));
  const axis = element(
    "fieldset",
    { class: "choice-bar" },
    element("legend", { class: "hidden", t: "axis" }),
    ...AXES.map((name) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "axis", value: name, class: "hidden-field", on: { change: () => change({ axis: name, range: null }) } }),
        element("span", { t: `axis.${name}` }),
      ),
    ),
  );
  const slider = element("input", { type: "range", min: "0", max: String(STEPS), id: "smooth", on: { input: () => change({ smooth: shareOf(Number(slider.value)) }) } });
  const shown = element("output", { for: "smooth", class: "figure" });
  const smoothing = element("div", { class: "smoothing" }, element("label", { for: "smooth", t: "smooth", hint: "smooth.hint" }), slider, shown);
  const out = button("zoom.out", () => zoomed(2), { class: "small-button", hint: "zoom.out.hint" });
  const all = button("zoom.all", () => change({ range: null }), { class: "small-button", hint: "zoom.all.hint" });
  const near = button("zoom.in", () => zoomed(0.5), { class: "small-button", hint: "zoom.in.hint" });
  const link = button("link", async () => {
    await copyText(location.href);
    link.textContent = t("link.copied");
    setTimeout(() => (link.textContent = t("link")), 2000);
  }, { class: "small-button", hint: "link.hint" });
  fill(root, axis, smoothing, element("div", { class: "zoom", role: "group", label: "zoom" }, near, out, all), link);

  return {
    show() {
      for (const input of axis.querySelectorAll("input")) input.checked = input.value === view.axis;
      if (document.activeElement !== slider) slider.value = placeOf(view.smooth);
      shown.textContent = view.smooth ? number(view.smooth, { style: "percent", maximumSignificantDigits: 2 }) : t("smooth.none");
      slider.setAttribute("aria-valuetext", shown.textContent);
      all.disabled = view.range === null;
      out.disabled = view.range === null;
    },
  };
}
