// The answer as words to point at and to choose from, aligned with the sentences of the source.
import { announce, element, fill } from "../dom.js";
import { errorBlock } from "../errors.js";
import { percent, score, t } from "../texts.js";
import { attendedWords, splitWords, tokenSpans, wordConfidence } from "../words.js";

const LEVELS = [0.9, 0.6, 0.3]; // below these a word is marked as uncertain, in three degrees

// `pointed(marks, segment)` is called with the parts of the source to highlight, `chosen` with a word that was clicked.
export function createAnswer({ node, inspector, pointed, chosen, enrich }) {
	const drawn = new WeakMap(); // result -> { version, node }
	let language = "";
	let sourceLanguage = "";

	function draw(units) {
		const active = document.activeElement?.closest(".word");
		const place = active && node.contains(active) ? [...node.querySelectorAll(".word")].indexOf(active) : -1;
		const children = units.map((unit, at) => {
			const found = nodeOf(unit);
			found.classList.toggle("spaced", at > 0 && unit.lines > 1);
			return found;
		});
		const same = children.length === node.children.length && children.every((child, at) => child === node.children[at]);
		if (!same) fill(node, ...children);
		const words = node.querySelectorAll(".word");
		words.forEach((word, at) => (word.tabIndex = at === Math.max(place, 0) ? 0 : -1));
		if (place >= 0 && words[place] && document.activeElement === document.body) words[place].focus();
	}

	function nodeOf(unit) {
		const { result } = unit;
		const known = drawn.get(unit);
		if (known?.version === result.version) return known.node;
		const made = element("p", { class: "unit", dir: "auto" });
		if (result.error) made.append(errorBlock(result.error));
		else if (result.done) made.append(...result.segments.flatMap((segment) => segmentNodes(unit, segment)));
		else if (result.piece) made.append(element("span", { class: "arriving" }, result.piece));
		else made.append(element("span", { class: "pending", "aria-hidden": "true" }, "…"));
		for (const warning of result.warnings) made.append(element("span", { class: "warning" }, warning));
		drawn.set(unit, { version: result.version, node: made });
		return made;
	}

	function segmentNodes(unit, segment) {
		const span = element("span", { class: "segment" });
		const { target, answer } = segment;
		const spans = answer?.tokens ? tokenSpans(target, answer.tokens) : [];
		let end = 0;
		for (const word of splitWords(target, language)) {
			span.append(target.slice(end, word.start), wordNode(unit, segment, word, spans));
			end = word.end;
		}
		span.append(target.slice(end));
		return [segment.gap, span];
	}

	function wordNode(unit, segment, word, spans) {
		const confidence = wordConfidence(word, spans, segment.answer?.token_confidence);
		const level = confidence === null ? 0 : LEVELS.filter((bound) => confidence < bound).length;
		const text = segment.target.slice(word.start, word.end);
		const made = element("span", { class: `word doubt-${level}`, role: "button", tabindex: "-1", "aria-haspopup": "dialog" }, text);
		const look = () => point(unit, segment, word, confidence, made);
		made.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && look());
		made.addEventListener("focus", look);
		made.addEventListener("click", () => chosen({ unit, segment, word, node: made }));
		return made;
	}

	function point(unit, segment, word, confidence, made) {
		node.querySelector(".word.pointed")?.classList.remove("pointed");
		made.classList.add("pointed");
		const offset = unit.start + segment.start;
		if (!segment.answer) void enrich(unit.result, segment);
		const read = attendedWords(word, segment.answer?.alignment, segment.source, sourceLanguage);
		const largest = read[0]?.weight ?? 1;
		const marks = read.map(({ start, end, weight }) => ({ start: offset + start, end: offset + end, weight: weight / largest }));
		pointed(marks, { start: offset, end: offset + segment.source.length });
		const said = sentence(segment, word, read, confidence);
		inspector.textContent = said;
		if (document.activeElement === made) announce(said);
	}

	function sentence(segment, word, read, confidence) {
		const quoted = segment.target.slice(word.start, word.end);
		const sources = read.slice(0, 3).filter(({ weight }) => weight >= 0.05);
		const named = sources.map(({ start, end, weight }) => `${segment.source.slice(start, end)} ${percent(Math.min(weight, 1))}`);
		const parts = [named.length ? `${quoted} ← ${named.join(", ")}` : quoted];
		if (confidence !== null) parts.push(t("answer.confidence", { share: percent(confidence) }));
		return parts.join(" · ");
	}

	function leave() {
		node.querySelector(".word.pointed")?.classList.remove("pointed");
		inspector.textContent = "";
		pointed([], null);
	}

	function move(event) {
		const words = [...node.querySelectorAll(".word")];
		const place = words.indexOf(event.target);
		if (place < 0) return;
		const steps = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: words.length - 1 };
		if (event.key === "Enter" || event.key === " ") event.target.click();
		else if (event.key in steps) {
			const next = words[Math.min(Math.max(steps[event.key], 0), words.length - 1)];
			for (const word of words) word.tabIndex = word === next ? 0 : -1;
			next.focus();
		} else return;
		event.preventDefault();
	}

	node.addEventListener("keydown", move);
	node.addEventListener("pointerleave", () => document.activeElement?.closest(".word") || leave());
	node.addEventListener("focusout", leave);

	return {
		draw,
		leave,
		speak(source, target) {
			sourceLanguage = source ?? "";
			language = target ?? "";
			node.lang = language;
		},
	};
}

// "Confidence 93 % · score -0.12".
export function figures(answer) {
	return t("answer.figures", { share: percent(answer.confidence), score: score(answer.score) });
}
