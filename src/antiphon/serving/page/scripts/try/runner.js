// Answers for the text as it is typed: a newer text ends the requests of the older one, and units that did not change
// keep their answers.
import { events, fetchJson } from "../api.js";
import { patiently } from "../errors.js";
import { emptyResult, hasSentences, oneSegment, segmentsOf, unitsOf } from "./units.js";

const DETAILS = ["alignment", "token_confidence"];
const TOGETHER = 16; // units in a request
const STORED = 300; // results in memory

// `changed()` is called when any result changed.
export function createRunner(changed) {
	let stop = new AbortController();
	let stored = new Map();
	let units = [];

	// `job`: { model, task, language (of the source), settings, translate } as `jobOf` makes it.
	function run(text, job) {
		stop.abort();
		stop = new AbortController();
		units = unitsOf(text, job.task);
		const name = JSON.stringify(job);
		for (const unit of units) {
			const key = `${name}\n${unit.text}`;
			const known = stored.get(key);
			unit.result = known?.done && !known.error ? known : emptyResult(unit);
			stored.delete(key);
			stored.set(key, unit.result);
		}
		stored = new Map([...stored].slice(-STORED));
		changed();
		const waiting = [...new Map(units.filter(({ result }) => !result.done).map((unit) => [unit.result, unit])).values()];
		return answerAll(waiting, job, stop.signal);
	}

	async function answerAll(waiting, job, signal) {
		const [split, whole] = [[], []];
		for (const unit of waiting) (job.translate || hasSentences(unit, job) ? split : whole).push(unit);
		const work = [...parts(whole).map((some) => [generate, some]), ...parts(split).map((some) => [translate, some])];
		for (const [act, some] of work) {
			try {
				await attempt(act, some, job, signal);
			} catch {
				return; // A newer text is there.
			}
		}
	}

	// What fails for several units is tried for each, so that one that is refused leaves the others their answers.
	async function attempt(act, some, job, signal) {
		try {
			await patiently(() => act(some.filter(({ result }) => !result.done), job, signal), signal);
		} catch (error) {
			if (error.name === "AbortError" || signal.aborted) throw error;
			const left = some.filter(({ result }) => !result.done);
			if (left.length === 1) finish(left[0].result, { error });
			else for (const unit of left) await attempt(act, [unit], job, signal);
		}
	}

	async function generate(some, job, signal) {
		const listed = some.length === 1 ? some[0].text : some.map(({ text }) => text);
		const json = { model: job.model, inputs: listed, stream: true, details: DETAILS, ...job.settings };
		for (const { result } of some) result.piece = "";
		for await (const event of events("v1/generate", { json, signal })) {
			const { result } = some[event.index];
			if (event.answer) finish(result, { segments: oneSegment(some[event.index], event.answer), warnings: event.answer.warnings ?? [] });
			else touch(result, { piece: result.piece + event.text });
		}
	}

	async function translate(some, job, signal) {
		const json = { model: job.model, texts: some.map(({ text }) => text), details: DETAILS, ...job.translation };
		const { translations } = await fetchJson("v1/translate", { json, signal });
		translations.forEach((translation, place) => {
			finish(some[place].result, { segments: segmentsOf(translation), warnings: translation.warnings ?? [] });
		});
	}

	// Let the model continue `segment` from `prefix`; an empty prefix is its own answer.
	async function force(result, segment, prefix, job) {
		const before = segment.target;
		const json = { model: job.model, inputs: segment.source, stream: true, details: DETAILS, ...job.settings };
		if (prefix) json.prefix = prefix;
		try {
			await patiently(async () => {
				let text = "";
				for await (const event of events("v1/generate", { json, signal: stop.signal })) {
					text = event.answer ? event.answer.text : text + event.text;
					Object.assign(segment, { target: text, answer: event.answer ?? null, forced: prefix });
					touch(result, {});
				}
			}, stop.signal);
		} catch (error) {
			segment.target = before;
			if (error.name !== "AbortError") touch(result, { error });
		}
	}

	// The alignment and the tokens of a segment that came without them.
	async function enrich(result, segment, job) {
		if (segment.answer || segment.asked) return;
		segment.asked = true;
		const json = { model: job.model, inputs: segment.source, prefix: segment.target, details: DETAILS, ...job.settings };
		try {
			const { answers } = await fetchJson("v1/generate", { json, signal: stop.signal });
			if (answers[0].text === segment.target) segment.answer = answers[0];
			touch(result, {});
		} catch {
			segment.asked = false; // Asked again at the next word; the text itself is there.
		}
	}

	function touch(result, values) {
		Object.assign(result, values, { version: result.version + 1 });
		changed();
	}

	function finish(result, values) {
		touch(result, { done: true, piece: "", ...values });
	}

	return { run, force, enrich, units: () => units, stop: () => stop.abort(), forget: () => stored.clear() };
}

function parts(units) {
	return Array.from({ length: Math.ceil(units.length / TOGETHER) }, (_, place) => units.slice(place * TOGETHER, (place + 1) * TOGETHER));
}
