// The other answers of the search to one text, with their scores; asked for when the list is open and the text rests.
import { fetchJson } from "../api.js";
import { element, fill, later } from "../dom.js";
import { errorBlock } from "../errors.js";
import { recall, remember } from "../storage.js";
import { percent, score } from "../texts.js";
import { shares } from "../words.js";

const COUNT = 4;
const REST_MS = 350;

// `use(prefix)` shows one of them as the answer.
export function createOthers({ use }) {
	const list = element("ol", { class: "others" });
	const node = element("details", { class: "fold", open: recall("others", true) }, element("summary", { t: "others" }), list);
	let stop = new AbortController();
	let wanted = null;
	let known = { key: "", answers: [] };
	const ask = later(load, REST_MS);

	node.addEventListener("toggle", () => {
		remember("others", node.open);
		if (node.open && wanted) ask();
	});

	// `request`: { source, job, text } of the answer on the page; null where there is no single one.
	function show(request) {
		stop.abort();
		ask.cancel();
		wanted = request;
		node.hidden = request === null;
		if (request && keyOf(request) === known.key) return draw(known.answers, request);
		list.classList.add("stale");
		if (request && node.open) ask();
	}

	function keyOf({ source, job }) {
		return JSON.stringify([source, job]);
	}

	async function load() {
		stop = new AbortController();
		const { source, job } = wanted;
		const width = Math.max(COUNT, job.settings.beam_size ?? COUNT);
		const sampled = "temperature" in job.settings;
		const search = { ...job.settings, n_best: COUNT, ...(sampled ? {} : { beam_size: width }) };
		try {
			const json = { model: job.model, inputs: source, ...search };
			const { answers } = await fetchJson("v1/generate", { json, signal: stop.signal });
			known = { key: keyOf({ source, job }), answers: [answers[0], ...answers[0].alternatives] };
			draw(known.answers, wanted);
		} catch (error) {
			if (error.name === "AbortError") return;
			list.classList.remove("stale");
			fill(list, element("li", {}, errorBlock(error)));
		}
	}

	function draw(answers, { text, job }) {
		list.classList.remove("stale");
		const among = shares(answers.map((answer) => answer.score));
		const rows = answers.map((answer, place) => {
			const values = { share: () => percent(among[place]), score: () => score(answer.score) };
			const current = answer.text === text;
			return element(
				"li",
				{},
				element(
					"button",
					{ type: "button", class: "other", "aria-current": current ? "true" : null, on: { click: () => use(answer.text) } },
					element("span", { class: "other-text", lang: job.targetLanguage || null, dir: "auto" }, answer.text),
					element("span", { class: "other-figures", t: ["others.figures", values] }),
				),
			);
		});
		fill(list, ...rows);
	}

	return { node, show };
}
