// Texts to click, by the task and the language.
import { element, fill } from "../dom.js";

const SENTENCES = {
	en: ["in 3 hours", "Monday, December 12, 2022, 3:47 AM", "15 months ago", "12 kilometers per hour"],
	de: ["in 3 Stunden", "Montag, 12. Dezember 2022, 03:47", "vor 15 Monaten", "12 Kilometer pro Stunde"],
	fr: ["dans 3 heures", "lundi 12 décembre 2022", "il y a 15 mois", "12 kilomètres par heure"],
	es: ["dentro de 3 horas", "lunes, 12 de diciembre de 2022", "hace 15 meses", "12 kilómetros por hora"],
	it: ["tra 3 ore", "lunedì 12 dicembre 2022", "15 mesi fa", "12 chilometri all’ora"],
};
const OF_TASK = {
	classification: ["A warm, funny and beautifully acted film.", "Two hours that I will never get back."],
	summarization: [
		"Hello all, the review of the new contract is moved from Tuesday to Thursday at 10 a.m., since Maria is travelling. " +
			"Please send your comments on section 4 before Wednesday evening, so that we can put them together. The room stays the same.",
	],
};

export function examplesOf(model, language) {
	if (OF_TASK[model?.task]) return OF_TASK[model.task];
	return SENTENCES[(language ?? "en").split(/[-_]/)[0]] ?? [];
}

export function createExamples({ use }) {
	const node = element("div", { class: "examples", role: "group", label: "examples.title" });
	return {
		node,
		show(model, language) {
			const texts = examplesOf(model, language);
			node.hidden = texts.length === 0;
			const chips = texts.map((text) => element("button", { type: "button", class: "chip", lang: language || null, on: { click: () => use(text) } }, text));
			fill(node, element("span", { class: "muted", t: "examples.title" }), ...chips);
		},
	};
}
