// The card of the model, and how to ask the same from a program.
import { address, fetchJson } from "./api.js";
import { copyButton, element, fill } from "./dom.js";
import { errorBlock } from "./errors.js";
import { currentModel } from "./models.js";
import { languageName, number, pageLanguage, t } from "./texts.js";
import { examplesOf } from "./try/examples.js";

const FIRST = ["metrics", "data", "limits"]; // the rest is for those who build models

export function createAbout() {
	const card = element("div", { class: "about-card" });
	const api = element("section", { class: "card api" });
	const node = element("div", { class: "about" }, card, api);
	let shownFor = "";

	async function shown() {
		const model = currentModel();
		if (!model) return;
		const name = `${model.name} ${model.state} ${pageLanguage()}`;
		if (name === shownFor) return;
		shownFor = name;
		try {
			const full = await fetchJson(`v1/models/${encodeURIComponent(model.name)}`);
			drawCard(full);
			drawApi(full);
		} catch (error) {
			shownFor = "";
			fill(card, errorBlock(error));
		}
	}

	function drawCard(model) {
		const languages = (codes) => (codes?.length ? codes.map(languageName).join(", ") : null);
		const { parameters, ...technical } = model.card ?? {};
		const overview = {
			task: wordOf("task", model.task),
			input: wordOf("input", model.input),
			source_languages: languages(model.source_languages),
			target_languages: languages(model.target_languages),
			labels: model.labels?.length ? model.labels.join(", ") : null,
			parameters,
		};
		const search = Object.fromEntries(Object.entries(model.generation ?? {}).filter(([, value]) => value));
		const groups = { ...technical, limits: model.limits, generation: search };
		const network = Object.entries(groups).filter(([, value]) => !isTable(value));
		const known = FIRST.filter((name) => isTable(groups[name]));
		const others = Object.keys(groups).filter((name) => isTable(groups[name]) && !FIRST.includes(name));
		const more = [facts(wordOf("card", "network"), Object.fromEntries(network)), ...others.map((name) => facts(wordOf("card", name), groups[name]))];
		const fold = element("details", { class: "fold" }, element("summary", { t: "card.more" }), element("div", { class: "about-card" }, ...more));
		fill(card, facts(model.name, overview), ...known.map((name) => facts(wordOf("card", name), groups[name])), fold);
	}

	function drawApi(model) {
		const [text] = examplesOf(model, model.source_languages?.[0]);
		const speech = model.input === "speech";
		const images = model.input === "image";
		const samples = images
			? [["api.python", `import antiphon\n\nclient = antiphon.Client("${address("").replace(/\/$/, "")}", model="${model.name}")\nprint(client.generate(["image.png"])[0].text)`]]
			: speech
			? [["api.transcribe", `curl ${address("v1/audio/transcriptions")} -F file=@recording.wav -F model=${model.name}`]]
			: [
					["api.generate", curl("v1/generate", { model: model.name, inputs: [text ?? "..."] })],
					["api.stream", curl("v1/generate", { model: model.name, inputs: text ?? "...", stream: true }, "-N ")],
					["api.python", `import antiphon\n\nclient = antiphon.Client("${address("").replace(/\/$/, "")}")\nprint(client.generate([${JSON.stringify(text ?? "...")}])[0].text)`],
				];
		if (!speech && !images && model.task === "translation") {
			const [source, target] = [model.source_languages?.[0] ?? "auto", model.target_languages?.[0] ?? "de"];
			samples.splice(2, 0, ["api.libretranslate", curl("translate", { q: text ?? "...", source, target })]);
		}
		const link = element("a", { href: address("openapi.json") }, "openapi.json");
		fill(api, element("h2", { t: "api" }), element("p", { class: "muted", t: "api.lead" }), ...samples.map(([title, code]) => sample(title, code)), element("p", {}, element("span", { t: "api.all" }), " ", link));
	}

	function sample(title, code) {
		const head = element("div", { class: "row between" }, element("h3", { t: title }), copyButton(() => code));
		return element("div", { class: "sample" }, head, element("pre", { tabindex: "0" }, element("code", {}, code)));
	}

	document.addEventListener("language", () => node.isConnected && !node.closest("[hidden]") && void shown());
	return { node, shown };
}

function curl(path, body, flags = "") {
	const json = JSON.stringify(body).replaceAll("'", "'\\''");
	return `curl ${flags}${address(path)} \\\n  -H 'Content-Type: application/json' \\\n  -d '${json}'`;
}

function isTable(value) {
	return value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;
}

// A list of names and values; nested tables are indented below their name.
function facts(title, values) {
	const list = element("dl", {});
	const add = (entries, inner) => {
		for (const [name, value] of Object.entries(entries)) {
			if (value === null || value === undefined || value === "") continue;
			const row = element("div", { class: inner ? "inner" : null }, element("dt", {}, wordOf("card", name)));
			list.append(row);
			if (isTable(value)) add(value, true);
			else row.append(element("dd", {}, shownValue(value)));
		}
	};
	add(values, false);
	return element("section", { class: "card facts" }, element("h2", {}, title), list);
}

// A name with a text of its own, or as it is, with spaces.
function wordOf(group, name) {
	const key = `${group}.${name}`;
	const found = t(key);
	return found === key ? String(name).replaceAll("_", " ") : found;
}

function shownValue(value) {
	if (typeof value === "number") return number(value, { maximumFractionDigits: 4, useGrouping: Math.abs(value) >= 10000 });
	if (typeof value === "boolean") return t(value ? "yes" : "no");
	if (Array.isArray(value)) return value.map(shownValue).join(", ");
	return typeof value === "object" ? JSON.stringify(value) : String(value);
}
