// The field for the source, which grows with its text, and marks behind the letters for what a word attended to.
import { element, fill } from "../dom.js";

export function createSource({ typed }) {
	const behind = element("div", { class: "behind", dir: "auto", "aria-hidden": "true" });
	const field = element("textarea", {
		id: "source",
		rows: "3",
		spellcheck: "false",
		autocapitalize: "none",
		dir: "auto",
		placeholder: "source.placeholder",
		"aria-describedby": "source-count",
	});
	const node = element("div", { class: "grow" }, behind, field);

	// `marks`: [{ start, end, weight }] with weights from 0 to 1; `segment` is the sentence around them, or null.
	function mark(marks = [], segment = null) {
		const text = field.value;
		const inner = [...marks].sort((a, b) => a.start - b.start);
		const children = [];
		let at = 0;
		for (const { start, end, weight } of inner) {
			if (start < at || end > text.length) continue;
			const made = element("mark", {}, text.slice(start, end));
			made.style.setProperty("--weight", String(Math.round(weight * 100) / 100));
			children.push(...plain(text, at, start, segment), made);
			at = end;
		}
		// The last line break needs a line of its own, as in the field.
		fill(behind, ...children, ...plain(text, at, text.length, segment), "\n");
	}

	function plain(text, from, to, segment) {
		if (!segment || segment.end <= from || segment.start >= to) return [text.slice(from, to)];
		const [start, end] = [Math.max(from, segment.start), Math.min(to, segment.end)];
		return [text.slice(from, start), element("span", { class: "sentence" }, text.slice(start, end)), text.slice(end, to)];
	}

	function changed() {
		mark();
		typed(field.value);
	}

	// While a letter is put together (Chinese, accents) only the field grows.
	field.addEventListener("input", (event) => (event.isComposing ? mark() : changed()));
	field.addEventListener("compositionend", changed);
	mark();

	return {
		node,
		field,
		mark,
		value: () => field.value,
		set(text) {
			field.value = text;
			changed();
		},
	};
}
