// From which language into which: nothing to choose for a model of one pair, two lists otherwise.
import { element, fill, iconButton } from "../dom.js";
import { recall, remember } from "../storage.js";
import { languageName } from "../texts.js";

export function createLanguages({ changed, swapped }) {
	const node = element("div", { class: "languages" });
	let [sources, targets] = [[], []];
	let chosen = { source: null, target: null };

	function pick(side, code) {
		chosen[side] = code;
		remember("languages", chosen);
		changed();
		draw();
	}

	function list(side, codes) {
		if (codes.length === 1) return element("span", { class: "language" }, languageName(codes[0]));
		const select = element("select", { id: `${side}-language`, label: `languages.${side}`, on: { change: () => pick(side, select.value) } });
		const named = codes.map((code) => [languageName(code), code]).sort((a, b) => a[0].localeCompare(b[0]));
		for (const [name, code] of named) select.append(element("option", { value: code }, name));
		select.value = chosen[side];
		return select;
	}

	function canSwap() {
		return chosen.source !== chosen.target && sources.includes(chosen.target) && targets.includes(chosen.source);
	}

	function swap() {
		chosen = { source: chosen.target, target: chosen.source };
		remember("languages", chosen);
		draw();
		swapped();
	}

	function draw() {
		node.hidden = sources.length === 0 && targets.length === 0;
		if (node.hidden) return;
		const between = canSwap() ? iconButton("swap", "languages.swap", swap, { id: "swap" }) : element("span", { class: "arrow", "aria-hidden": "true" }, "→");
		const parts = [sources.length ? list("source", sources) : null, sources.length && targets.length ? between : null, targets.length ? list("target", targets) : null];
		fill(node, ...parts);
	}

	document.addEventListener("language", draw);

	return {
		node,
		chosen: () => chosen,
		show(model) {
			[sources, targets] = [model?.source_languages ?? [], model?.target_languages ?? []];
			const known = recall("languages", {});
			const first = (codes, wanted, other) => (codes.includes(wanted) ? wanted : (codes.find((code) => code !== other) ?? codes[0] ?? null));
			const source = first(sources, known.source, null);
			chosen = { source, target: first(targets, known.target === source ? null : known.target, source) };
			draw();
		},
	};
}
