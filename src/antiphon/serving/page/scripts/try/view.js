// "Try it": the text on one side, the answer on the other while it is typed.
import { button, copyButton, element, fill, iconButton, later, announce } from "../dom.js";
import { canAnswer, choosesLanguages, currentModel } from "../models.js";
import { recall, remember } from "../storage.js";
import { number, setText, t } from "../texts.js";
import { createAnswer, figures } from "./answer.js";
import { createChoices } from "./choices.js";
import { createExamples } from "./examples.js";
import { showLabels } from "./labels.js";
import { createLanguages } from "./languages.js";
import { createOthers } from "./others.js";
import { createRunner } from "./runner.js";
import { createSettings } from "./settings.js";
import { createSource } from "./source.js";
import { targetOf } from "./units.js";

const TITLES = { translation: "answer.translation", summarization: "answer.summarization" };
const TYPING_MS = 60; // between the last key and the request

export function createTry(shared) {
	const runner = createRunner(schedule);
	const source = createSource({ typed });
	const settings = createSettings({ changed: start });
	const languages = createLanguages({ changed: languagesChanged, swapped });
	const examples = createExamples({ use });
	const text = element("div", { class: "answer-text", role: "group", label: "answer.words" });
	const inspector = element("p", { class: "inspector" });
	const box = element("div", { class: "choices", role: "dialog", label: "choices", hidden: true });
	const choices = createChoices({ box, job: jobOf, use: (unit, segment, prefix) => force(unit, segment, prefix) });
	const answer = createAnswer({ node: text, inspector, pointed: source.mark, chosen: choices.open, enrich: (result, segment) => runner.enrich(result, segment, jobOf()) });
	const others = createOthers({ use: (prefix) => force(...single(), prefix) });
	const counter = element("p", { class: "counter muted", id: "source-count" });
	const clear = iconButton("clear", "source.clear", () => use(""));
	const title = element("h2", { t: "answer" });
	const state = element("span", { class: "figures muted" });
	const own = button("answer.own", () => releaseAll(), { class: "plain own", hidden: true });
	const copy = copyButton(answerText);
	const doubts = element("input", { type: "checkbox", id: "doubts", checked: recall("doubts", true) });
	const shading = element("label", { class: "check small" }, doubts, element("span", { t: "answer.doubts" }));
	const ask = later(start, TYPING_MS);
	let frame = 0;

	doubts.addEventListener("change", () => {
		remember("doubts", doubts.checked);
		text.classList.toggle("with-doubts", doubts.checked);
	});
	text.classList.toggle("with-doubts", doubts.checked);
	setText(inspector, "data-rest", "answer.rest");

	const node = element(
		"div",
		{ class: "try" },
		element("div", { class: "bar-above" }, languages.node),
		element("div", { class: "pair" }, sourceCard(), answerCard()),
		examples.node,
		others.node,
		settings.node,
	);

	function sourceCard() {
		const head = element("div", { class: "card-head" }, element("label", { for: "source", t: "source" }), clear);
		return element("section", { class: "card source-card" }, head, source.node, element("div", { class: "card-foot" }, counter));
	}

	function answerCard() {
		const head = element("div", { class: "card-head" }, title, element("span", { class: "row" }, own, copy));
		const foot = element("div", { class: "card-foot" }, state, shading);
		return element("section", { class: "card answer-card", "aria-busy": "false" }, head, text, inspector, foot, box);
	}

	const card = node.querySelector(".answer-card");

	// What a request needs to know; its JSON is the key of stored results.
	function jobOf() {
		const model = currentModel();
		const { source: from, target: to } = languages.chosen();
		const search = settings.search();
		const named = choosesLanguages(model) ? { source_language: from, target_language: to } : {};
		const extra = settings.translation();
		const { max_new_tokens: _, ...rest } = search;
		return {
			model: model?.name,
			task: model?.task ?? "text",
			language: from,
			targetLanguage: to,
			settings: { ...search, ...named },
			translate: extra !== null,
			translation: { ...rest, ...(from && to ? { source: from, target: to } : {}), ...extra },
		};
	}

	function typed(value) {
		remember("text", value, "sessionStorage");
		count(value);
		choices.close();
		if (value.trim() === "") start();
		else ask();
	}

	function count(value) {
		clear.hidden = value === "";
		const limit = currentModel()?.limits?.max_source_tokens;
		const characters = () => number([...value].length);
		setText(counter, "text", limit ? ["source.count.limit", { characters, limit: () => number(limit) }] : ["source.count", { characters }]);
	}

	function start() {
		ask.cancel();
		choices.close();
		answer.leave();
		const value = source.value();
		if (!canAnswer() && value.trim() !== "") return;
		const { language, targetLanguage, ...job } = jobOf();
		source.field.lang = language ?? "";
		answer.speak(language, targetLanguage);
		void runner.run(value, { ...job, language, targetLanguage });
	}

	function schedule() {
		frame ||= requestAnimationFrame(draw);
	}

	function draw() {
		frame = 0;
		const units = runner.units();
		const labelled = (currentModel()?.labels?.length ?? 0) > 0;
		const done = units.every(({ result }) => result.done);
		const begun = units.some(({ result }) => result.done || result.piece);
		card.setAttribute("aria-busy", String(!done));
		text.classList.toggle("stale", units.length > 0 && !begun);
		if (units.length === 0) fill(text, element("p", { class: "muted empty", t: "answer.empty" }));
		else if (labelled && begun && !units[0].result.error) showLabels(text, units[0].result.segments[0]?.answer);
		else if (begun) answer.draw(units);
		copy.hidden = !begun;
		shading.hidden = labelled || units.length === 0;
		if (done) finished(units, labelled);
	}

	function finished(units, labelled) {
		const segments = units.flatMap(({ result }) => result.segments);
		const [only] = segments.length === 1 ? segments : [];
		own.hidden = !segments.some(({ forced }) => forced);
		state.textContent = only?.answer && only.answer.score !== null && !labelled ? figures(only.answer) : "";
		inspector.hidden = labelled || segments.length === 0;
		if (segments.length) setTimeout(announceAnswer, 400, answerText());
		const wanted = only && !labelled && only.answer ? { source: only.source, job: jobOf(), text: only.target } : null;
		others.show(wanted);
		Object.assign(shared, { source: only?.source ?? source.value(), target: only?.target ?? "" });
	}

	// Read aloud once the answer rests.
	function announceAnswer(said) {
		if (said === answerText() && document.activeElement === source.field) announce(`${t("answer")}: ${said}`);
	}

	function answerText() {
		let found = "";
		for (const { result, lines } of runner.units()) {
			found += found === "" ? "" : "\n".repeat(Math.max(1, lines));
			found += result.done ? targetOf(result) : result.piece;
		}
		return found;
	}

	function single() {
		const [unit] = runner.units();
		return [unit, unit.result.segments[0]];
	}

	function force(unit, segment, prefix) {
		void runner.force(unit.result, segment, prefix, jobOf());
	}

	function releaseAll() {
		for (const { result } of runner.units()) {
			for (const segment of result.segments) if (segment.forced) void runner.force(result, segment, "", jobOf());
		}
	}

	function use(value) {
		source.set(value);
		start();
		source.field.focus();
	}

	function languagesChanged() {
		examples.show(currentModel(), languages.chosen().source);
		start();
	}

	function swapped() {
		examples.show(currentModel(), languages.chosen().source);
		source.set(answerText());
		start();
	}

	function modelChanged() {
		const model = currentModel();
		const labelled = (model?.labels?.length ?? 0) > 0;
		languages.show(model);
		settings.show(model);
		examples.show(model, languages.chosen().source);
		setText(title, "text", labelled ? "answer.labels" : (TITLES[model?.task] ?? "answer"));
		count(source.value());
		if (canAnswer()) start();
	}

	document.addEventListener("model", modelChanged);
	document.addEventListener("language", () => schedule());
	source.set(recall("text", "", "sessionStorage"));
	modelChanged();
	return { node, shown: () => {} };
}
