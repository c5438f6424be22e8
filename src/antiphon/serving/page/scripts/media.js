// What the tabs for sound and for images share: a card for each file, with its answer.
import { fetchJson } from "./api.js";
import { announce, copyButton, element, fill } from "./dom.js";
import { errorBlock, patiently } from "./errors.js";
import { currentModel } from "./models.js";
import { t } from "./texts.js";
import { labelBars } from "./try/labels.js";

export const lead = (key) => element("p", { class: "lead", t: key });

// A card with its `title`, `buttons`, and a `text` that waits for the answer of `ask`.
export function card(results, title, ...buttons) {
	const text = element("p", { class: "transcript", dir: "auto" }, element("span", { class: "pending" }, "…"));
	const tools = element("span", { class: "row" }, ...buttons, copyButton(() => text.textContent));
	const row = element("li", { class: "card" }, element("div", { class: "card-head" }, element("h3", { class: "file-name" }, title), tools));
	results.prepend(row);
	return { row, text };
}

// Fill in the answer, with bars of labels in `body`; resolves to it, or to null after an error.
export async function fillIn(text, body, ask, signal) {
	try {
		const answer = await patiently(ask, signal);
		fill(text, answer.text || t("speech.silence"));
		if (answer.probabilities) body.append(labelBars(answer.probabilities));
		announce(answer.text);
		return answer;
	} catch (error) {
		if (error.name !== "AbortError") text.replaceWith(errorBlock(error));
		return null;
	}
}

// The server reads the format from the content, whatever the browser takes it for.
export async function generate(file, type, signal, prompt) {
	const url = await new Promise((resolve, reject) => {
		const reader = new FileReader();
		reader.onload = () => resolve(`data:${type};base64,${reader.result.split(",")[1] ?? ""}`);
		reader.onerror = () => reject(reader.error);
		reader.readAsDataURL(file);
	});
	const json = { model: currentModel().name, inputs: url, ...(prompt ? { prompt } : {}) };
	return (await fetchJson("v1/generate", { json, signal })).answers[0];
}
