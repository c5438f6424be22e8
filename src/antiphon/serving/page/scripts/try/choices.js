// Other words at a place of the answer: the beam's best continuations there, each completed by the model.
import { fetchJson } from "../api.js";
import { element, fill, iconButton } from "../dom.js";
import { errorBlock, patiently } from "../errors.js";
import { pageLanguage, percent } from "../texts.js";
import { firstWord, shares } from "../words.js";

const WIDTH = 8; // hypotheses that are looked at
const SHOWN = 6;
const FEW_TOKENS = 3; // enough for a word, so that the beam holds different words instead of different endings

// [{ prefix, word, rest, score, share }], the most probable answer first; `share` is the probability among these.
export async function otherWords(segment, word, { model, settings, language, signal }) {
	const prefix = segment.target.slice(0, word.start).trimEnd();
	const common = { ...settings, temperature: undefined, top_k: undefined, top_p: undefined, min_p: undefined, n_best: undefined };
	const start = { model, inputs: segment.source, ...common, beam_size: WIDTH, n_best: WIDTH, max_new_tokens: FEW_TOKENS };
	const found = await fetchJson("v1/generate", { json: prefix ? { ...start, prefix } : start, signal });
	const [first] = found.answers;
	const starts = new Set();
	for (const { text } of [first, ...first.alternatives]) {
		const next = text.startsWith(prefix) ? firstWord(text.slice(prefix.length), language) : "";
		if (next.trim() !== "") starts.add(prefix + next);
	}
	starts.delete(segment.target.slice(0, word.end));
	const prefixes = [segment.target.slice(0, word.end), ...[...starts].slice(0, SHOWN - 1)];
	const inputs = prefixes.map(() => segment.source);
	const { answers } = await fetchJson("v1/generate", { json: { model, ...common, inputs, prefix: prefixes }, signal });
	const choices = new Map();
	for (const answer of answers) {
		const next = firstWord(answer.text.slice(prefix.length), language);
		const choice = { prefix: prefix + next, word: next.trim(), rest: answer.text.slice(prefix.length + next.length), score: answer.score };
		if (choice.word !== "" && !(choices.get(choice.word)?.score >= choice.score)) choices.set(choice.word, choice);
	}
	const ranked = [...choices.values()].sort((a, b) => b.score - a.score);
	const among = shares(ranked.map(({ score }) => score));
	return ranked.map((choice, place) => ({ ...choice, share: among[place] }));
}

// A box at the word. `job()` is the present job of the runner, `use(unit, segment, prefix)` continues from a prefix.
export function createChoices({ box, job, use }) {
	let stop = new AbortController();
	let opener = null;
	let opened = null;

	async function open({ unit, segment, word, node }) {
		close();
		stop = new AbortController();
		const { signal } = stop;
		opener = node;
		opened = { unit, segment, word };
		node.classList.add("chosen");
		const text = segment.target.slice(word.start, word.end);
		const list = element("div", { class: "choice-list" }, element("p", { class: "muted waiting", t: "choices.waiting" }));
		fill(box, head(text), list, own(segment, word));
		box.hidden = false;
		place(node);
		box.querySelector("button").focus();
		try {
			const choices = await patiently(() => otherWords(segment, word, { ...job(), signal }), signal);
			show(list, choices, text);
		} catch (error) {
			if (error.name !== "AbortError") fill(list, errorBlock(error));
		}
	}

	function head(text) {
		return element(
			"div",
			{ class: "row between" },
			element("h3", { t: ["choices.title", { word: text }] }),
			iconButton("clear", "close", () => close({ back: true })),
		);
	}

	function show(list, choices, text) {
		fill(list, ...choices.map((choice) => choiceButton(choice, choice.word === text)));
		if (choices.length < 2) list.append(element("p", { class: "muted", t: "choices.none" }));
		// Unless the reader has begun to type a word.
		if (box.contains(document.activeElement) && !document.activeElement.matches("input")) list.querySelector("button")?.focus();
	}

	function choiceButton(choice, current) {
		return element(
			"button",
			{ type: "button", class: "choice", "aria-current": current ? "true" : null, on: { click: () => take(choice.prefix) } },
			element("span", { class: "choice-text", lang: job().targetLanguage || null }, element("strong", {}, choice.word), element("span", {}, choice.rest)),
			element("span", { class: "choice-share" }, percent(choice.share)),
		);
	}

	function own(segment, word) {
		const field = element("input", { type: "text", id: "own-word", autocomplete: "off", placeholder: "choices.own.placeholder" });
		const submit = (event) => {
			event.preventDefault();
			if (field.value.trim() === "") return;
			const before = segment.target.slice(0, word.start);
			take(before + field.value.trim());
		};
		return element(
			"form",
			{ class: "own-word", on: { submit } },
			element("label", { for: "own-word", t: "choices.own" }),
			element("div", { class: "row" }, field, element("button", { type: "submit", t: "choices.use" })),
		);
	}

	function take(prefix) {
		const { unit, segment } = opened;
		close({ back: true });
		use(unit, segment, prefix);
	}

	// Below the word, inside the card.
	function place(node) {
		const card = box.offsetParent.getBoundingClientRect();
		const at = node.getBoundingClientRect();
		const room = card.width - box.offsetWidth - 8;
		box.style.top = `${at.bottom - card.top + 6}px`;
		box.style.left = `${Math.max(8, Math.min(at.left - card.left, room))}px`;
	}

	function close({ back = false } = {}) {
		stop.abort();
		box.hidden = true;
		opener?.classList.remove("chosen");
		if (back && opener?.isConnected) opener.focus();
		opener = null;
	}

	function keys(event) {
		if (event.key === "Escape") close({ back: true });
		const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
		if (step && event.target.matches("button")) {
			const all = [...box.querySelectorAll("button")];
			all[(all.indexOf(event.target) + step + all.length) % all.length].focus();
			event.preventDefault();
		}
	}

	box.addEventListener("keydown", keys);
	box.lang = pageLanguage();
	document.addEventListener("pointerdown", (event) => {
		if (!box.hidden && !box.contains(event.target) && !event.target.closest(".word")) close();
	});
	return { open, close };
}
