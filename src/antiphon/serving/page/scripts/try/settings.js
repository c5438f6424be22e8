// Search settings. An empty field is the model's own value, which is shown in it.
import { button, element, fill, icon } from "../dom.js";
import { recall, remember } from "../storage.js";
import { number } from "../texts.js";

const SEARCH = [
	{ name: "beam_size", kind: "count", min: 1 },
	{ name: "length_penalty", kind: "number", step: 0.1 },
	{ name: "max_new_tokens", kind: "count", min: 1 },
	{ name: "no_repeat_ngram", kind: "count", min: 0 },
	{ name: "repetition_penalty", kind: "number", step: 0.1, min: 0.1 },
	{ name: "overflow", kind: "choice", values: ["error", "truncate", "split"] },
	{ name: "forbidden", kind: "phrases" },
];
const SAMPLING = [
	{ name: "temperature", kind: "number", step: 0.1, min: 0.1, start: 0.8 },
	{ name: "top_k", kind: "count", min: 1 },
	{ name: "top_p", kind: "number", step: 0.05, min: 0.05, max: 1 },
	{ name: "seed", kind: "count", min: 0 },
];
const PROTECT = ["placeholders", "urls", "emails", "numbers"];
const BEAM_ONLY = new Set(["beam_size", "length_penalty"]); // without a meaning for samples

export function createSettings({ changed }) {
	let values = recall("settings", {});
	let model = null;
	const body = element("div", { class: "settings-body" });
	const summary = element("summary", {}, element("span", { t: "settings" }), element("span", { class: "count muted" }));
	const node = element("details", { class: "fold settings" }, summary, body);

	function set(name, value) {
		const empty = value === null || value === "" || value === false || (Array.isArray(value) && value.length === 0);
		if (empty) delete values[name];
		else values[name] = value;
		remember("settings", values);
		showCount();
		changed();
	}

	function showCount() {
		const count = Object.keys(values).length;
		summary.querySelector(".count").textContent = count ? number(count) : "";
	}

	function field(spec) {
		const id = `setting-${spec.name}`;
		const standard = model?.generation?.[spec.name];
		const control = spec.kind === "choice" ? choice(spec, id) : input(spec, id, standard);
		const limit = { max_new_tokens: model?.limits?.max_new_tokens, beam_size: model?.limits?.max_beam_size }[spec.name];
		if (limit) control.max = String(limit);
		return element("div", { class: "field" }, element("label", { for: id, t: `settings.${spec.name}` }), control, element("p", { class: "muted", t: `settings.${spec.name}.help` }));
	}

	function input(spec, id, standard) {
		const numeric = spec.kind !== "phrases";
		const control = element("input", { id, type: numeric ? "number" : "text", autocomplete: "off" });
		if (numeric) Object.assign(control, { step: String(spec.step ?? 1), min: String(spec.min ?? ""), max: String(spec.max ?? "") });
		if (standard !== null && standard !== undefined && !Array.isArray(standard)) control.setAttribute("placeholder", String(standard));
		const value = values[spec.name];
		control.value = Array.isArray(value) ? value.join(", ") : (value ?? "");
		control.addEventListener("change", () => {
			if (!control.reportValidity()) return;
			set(spec.name, numeric ? (control.value === "" ? null : Number(control.value)) : phrases(control.value));
		});
		return control;
	}

	function choice(spec, id) {
		const control = element("select", { id, on: { change: () => set(spec.name, control.value) } }, element("option", { value: "", t: "settings.standard" }));
		for (const value of spec.values) control.append(element("option", { value, t: `settings.${spec.name}.${value}` }));
		control.value = values[spec.name] ?? "";
		return control;
	}

	function check(name, checked, act, t) {
		const box = element("input", { type: "checkbox", id: `setting-${name}`, checked, on: { change: () => act(box.checked) } });
		return element("label", { class: "check" }, box, element("span", { t }));
	}

	function draw() {
		const sampling = "temperature" in values;
		const labelled = (model?.labels?.length ?? 0) > 0;
		const shown = labelled ? SEARCH.filter(({ name }) => name === "overflow") : SEARCH;
		const parts = [element("div", { class: "fields" }, ...shown.filter(({ name }) => !(sampling && BEAM_ONLY.has(name))).map(field))];
		if (!labelled) {
			parts.push(check("sampling", sampling, sample, "settings.sampling"));
			if (sampling) parts.push(element("div", { class: "fields" }, ...SAMPLING.map(field)), again());
		}
		if (model?.task === "translation") parts.push(translation());
		parts.push(button("settings.reset", reset, { class: "plain" }));
		fill(body, ...parts);
		showCount();
	}

	function sample(on) {
		if (on) Object.assign(values, { temperature: SAMPLING[0].start });
		else for (const { name } of SAMPLING) delete values[name];
		draw();
		set("temperature", on ? values.temperature : null);
	}

	function again() {
		const next = () => {
			set("seed", (values.seed ?? 0) + 1);
			body.querySelector("#setting-seed").value = values.seed;
		};
		return element("button", { type: "button", on: { click: next } }, icon("dice"), element("span", { t: "settings.again" }));
	}

	// What only /v1/translate does: a glossary, and parts of the text that must stay as they are.
	function translation() {
		const lines = Object.entries(values.glossary ?? {}).map(([source, target]) => `${source} = ${target}`);
		const glossary = element("textarea", { id: "setting-glossary", rows: "3", spellcheck: "false", placeholder: "settings.glossary.placeholder" });
		glossary.value = lines.join("\n");
		glossary.addEventListener("change", () => set("glossary", pairs(glossary.value)));
		const kept = new Set(values.protect ?? []);
		const protect = (name) => (on) => {
			if (on) kept.add(name);
			else kept.delete(name);
			set("protect", [...kept]);
		};
		return element(
			"div",
			{ class: "fields" },
			element("div", { class: "field" }, element("label", { for: "setting-glossary", t: "settings.glossary" }), glossary, element("p", { class: "muted", t: "settings.glossary.help" })),
			element("fieldset", { class: "field" }, element("legend", { t: "settings.protect" }), ...PROTECT.map((name) => check(name, kept.has(name), protect(name), `settings.protect.${name}`))),
		);
	}

	function reset() {
		values = {};
		remember("settings", values);
		draw();
		changed();
	}

	draw();
	return {
		node,
		show(next) {
			model = next;
			draw();
		},
		// Settings of the search, for every route.
		search() {
			const { glossary, protect, ...search } = values;
			if ("temperature" in search) {
				for (const name of BEAM_ONLY) delete search[name];
				search.beam_size = 1;
			}
			return search;
		},
		// Settings of /v1/translate alone; null where there are none.
		translation() {
			if (model?.task !== "translation" || !(values.glossary || values.protect)) return null;
			return { ...(values.glossary && { glossary: values.glossary }), ...(values.protect && { protect: values.protect }) };
		},
	};
}

function phrases(text) {
	return text.split(",").map((phrase) => phrase.trim()).filter(Boolean);
}

// Lines of `source = target`; null where no line is one.
export function pairs(text) {
	const found = text.split("\n").map((line) => line.split("=").map((side) => side.trim())).filter((sides) => sides.length === 2 && sides[0] && sides[1]);
	return found.length ? Object.fromEntries(found) : null;
}
