// The models of the server: which there are, which one is used, and whether it is ready.
import { fetchJson } from "./api.js";
import { element, fill } from "./dom.js";
import { errorKey } from "./errors.js";
import { dismiss, notice } from "./notices.js";
import { recall, remember } from "./storage.js";

const WAITING_MS = 1500; // between looks at a model that is loading or restarting
const READY_MS = 20000;

let models = [];
let current = null;
let timer = 0;
const woken = new Set(); // names of the models that this page had loaded

export function currentModel() {
	return current;
}

// A model that is not loaded is loaded by the first request.
export function canAnswer() {
	return current?.state === "ready" || current?.state === "unloaded";
}

// Several languages on a side have to be named in requests; a model of one pair has nothing to choose.
export function choosesLanguages(model = current) {
	return (model?.source_languages?.length ?? 0) > 1 || (model?.target_languages?.length ?? 0) > 1;
}

export async function startModels() {
	await refresh();
	document.addEventListener("visibilitychange", () => document.hidden || void refresh());
	window.addEventListener("online", () => void refresh());
}

export async function refresh() {
	clearTimeout(timer);
	let again = true;
	try {
		models = (await fetchJson("v1/models")).models;
		dismiss("server");
		choose(current?.name ?? recall("model"), { quiet: true });
	} catch (error) {
		again = error.status !== 401; // Who gave up on the key is not asked again and again.
		notice("server", errorKey(error), { detail: error.status ? error.message : null, level: "bad", action: ["retry", () => void refresh()] });
	}
	if (again && !document.hidden) timer = setTimeout(refresh, canAnswer() ? READY_MS : WAITING_MS);
}

function choose(name, { quiet = false } = {}) {
	const before = current;
	current = models.find((model) => model.name === name) ?? models.find((model) => model.default) ?? models[0] ?? null;
	if (!quiet && current) remember("model", current.name);
	showChooser();
	showState();
	const changed = before?.name !== current?.name || before?.state !== current?.state || before?.task !== current?.task;
	if (changed) document.dispatchEvent(new CustomEvent("model", { detail: current }));
	if (current?.state === "unloaded" && !woken.has(current.name)) void wake();
}

function showChooser() {
	const place = document.getElementById("models");
	const names = models.map((model) => model.name).join("\n");
	const state = element("span", { class: `state ${current?.state ?? ""}`, t: `state.${current?.state ?? "unloaded"}` });
	if (place.dataset.names === names && place.querySelector("select")) {
		place.querySelector("select").value = current.name;
		place.querySelector(".state").replaceWith(state);
		return;
	}
	place.dataset.names = names;
	if (models.length < 2) {
		fill(place, current ? element("span", { class: "model-name" }, current.name) : null, current ? state : null);
		return;
	}
	const select = element("select", { on: { change: () => choose(select.value) } });
	for (const model of models) select.append(element("option", { value: model.name }, model.name));
	select.value = current.name;
	const label = element("label", { class: "small-select" }, element("span", { class: "hidden", t: "model" }), select);
	fill(place, label, state);
}

function showState() {
	dismiss("model");
	if (!current) notice("model", "state.none", { level: "bad" });
	else if (current.state === "loading") notice("model", ["state.loading.long", { name: current.name }], { level: "wait" });
	else if (current.state === "restarting") notice("model", ["state.restarting.long", { name: current.name }], { level: "wait" });
	else if (current.state === "failed") {
		notice("model", ["state.failed.long", { name: current.name }], { detail: current.error, level: "bad", action: ["load", load] });
	} else if (current.state === "unloaded") {
		notice("model", ["state.unloaded.long", { name: current.name }], { action: ["load", load] });
	}
}

// Whoever opens the page wants an answer soon: an empty request has the model loaded. Once; later the user asks.
async function wake() {
	woken.add(current.name);
	notice("model", ["state.loading.long", { name: current.name }], { level: "wait" });
	try {
		await fetchJson("v1/generate", { json: { model: current.name, inputs: "" } });
	} catch {
		// The state says why.
	}
	await refresh();
}

async function load() {
	notice("model", ["state.loading.long", { name: current.name }], { level: "wait" });
	try {
		await fetchJson(`v1/models/${encodeURIComponent(current.name)}/load`, { method: "POST" });
	} catch (error) {
		if (error.status !== 401 && error.status !== 403) {
			notice("model", errorKey(error), { detail: error.message, level: "bad", action: ["load", load] });
			return;
		}
		await wake(); // Loading is for the keys of administrators; asking is for everybody.
	}
	await refresh();
}
