// The labels of a classifier as bars, the most probable first.
import { element, fill } from "../dom.js";
import { percent } from "../texts.js";

export function labelBars(probabilities) {
	const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
	const rows = ranked.map(([label, share], place) => {
		const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span", {}));
		bar.firstChild.style.width = `${share * 100}%`;
		return element("li", { class: place === 0 ? "best" : null }, element("span", { class: "bar-label" }, label), bar, element("span", { class: "bar-share" }, percent(share)));
	});
	return element("ol", { class: "bars" }, ...rows);
}

export function showLabels(node, answer) {
	if (answer?.probabilities) fill(node, labelBars(answer.probabilities));
	else if (answer) fill(node, element("p", {}, answer.text));
	else fill(node);
}
