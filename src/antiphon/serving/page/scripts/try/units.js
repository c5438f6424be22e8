// A text as the units that are answered apart: lines of a text to translate, otherwise the whole text.
import { countSentences } from "../words.js";

// [{ start, end, text, lines }], in characters of the whole text, without the white space around them; `lines` is how
// many line breaks are before the unit.
export function unitsOf(text, task) {
	const pieces = task === "translation" ? [...text.matchAll(/[^\n]+/g)] : [...text.matchAll(/[^]+/g)];
	const units = [];
	let last = 0;
	for (const { 0: piece, index } of pieces) {
		const trimmed = piece.trim();
		if (trimmed === "") continue;
		const start = index + piece.indexOf(trimmed);
		const lines = text.slice(last, start).split("\n").length - 1;
		last = start + trimmed.length;
		units.push({ start, end: last, text: trimmed, lines });
	}
	return units;
}

// A result to be filled: `segments` are [{ source, start, target, gap, answer }], `start` in characters of the unit and
// `gap` the white space before the segment's target; `piece` is the text that has arrived so far.
export function emptyResult(unit) {
	return { text: unit.text, segments: [], piece: "", done: false, error: null, warnings: [], version: 0 };
}

// Whether the server has to split the unit into sentences.
export function hasSentences(unit, { task, language }) {
	return task === "translation" && countSentences(unit.text, language) > 1;
}

export function oneSegment(unit, answer) {
	return [{ source: unit.text, start: 0, target: answer.text, gap: "", answer, forced: "" }];
}

// The segments of an answer of /v1/translate.
export function segmentsOf(translation) {
	let end = 0;
	return translation.segments.map((segment) => {
		const [from, to] = segment.target_span;
		const gap = translation.text.slice(end, from);
		end = to;
		const target = translation.text.slice(from, to);
		const answer = segment.alignment ? { ...segment, text: target } : null;
		return { source: segment.source, start: segment.source_span[0], target, gap, answer, confidence: segment.confidence, forced: "" };
	});
}

export function targetOf(result) {
	return result.segments.map(({ gap, target }) => gap + target).join("");
}
