// The words of the page, in the language of the browser or the chosen one. texts/en.json and de.json have the same keys.
import { recall, remember } from "./storage.js";

export const LANGUAGES = ["en", "de"];
let language = "en";
let table = {};
const keys = new WeakMap(); // node -> Map of what to set ("text", "title", ...) -> [key, values]

export function pageLanguage() {
	return language;
}

// The text of `key`, with {name} replaced by values.name.
export function t(key, values = {}) {
	const text = table[key] ?? key;
	return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// Set a text, and set it again when the language changes. `text` is a key or [key, values].
export function setText(node, what, text) {
	const [key, values] = Array.isArray(text) ? text : [text, {}];
	if (!keys.has(node)) keys.set(node, new Map());
	keys.get(node).set(what, [key, values]);
	node.dataset.t ??= "";
	put(node, what, t(key, evaluated(values)));
}

// Values may be functions, so that numbers and names follow the language too.
function evaluated(values) {
	return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, typeof value === "function" ? value() : value]));
}

function put(node, what, text) {
	if (what === "text") node.textContent = text;
	else node.setAttribute(what, text);
}

function translatePage() {
	document.documentElement.lang = language;
	for (const node of document.querySelectorAll("[data-t], [data-t-label]")) {
		if (node.dataset.tLabel) node.setAttribute("aria-label", t(node.dataset.tLabel));
		if (keys.has(node)) for (const [what, [key, values]] of keys.get(node)) put(node, what, t(key, evaluated(values)));
		else if (node.dataset.t) node.textContent = t(node.dataset.t);
	}
}

// { settings: { "": "Settings", reset: "..." } } -> { settings: "Settings", "settings.reset": "..." }
function flat(groups) {
	const entries = Object.entries(groups).flatMap(([group, texts]) =>
		typeof texts === "string" ? [[group, texts]] : Object.entries(texts).map(([name, text]) => [name ? `${group}.${name}` : group, text]),
	);
	return Object.fromEntries(entries);
}

export async function setLanguage(code) {
	const answer = await fetch(`texts/${code}.json`);
	table = flat(await answer.json());
	language = code;
	translatePage();
	document.dispatchEvent(new CustomEvent("language"));
}

export async function startTexts() {
	const wanted = [recall("language"), ...(navigator.languages ?? [navigator.language])];
	const codes = wanted.filter(Boolean).map((code) => code.toLowerCase().split("-")[0]);
	await setLanguage(codes.find((code) => LANGUAGES.includes(code)) ?? "en");
	const select = document.getElementById("page-language");
	select.value = language;
	select.addEventListener("change", () => {
		remember("language", select.value);
		void setLanguage(select.value);
	});
}

export function number(value, options = {}) {
	return new Intl.NumberFormat(language, options).format(value);
}

// A score in nats.
export function score(value) {
	return number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "negative" });
}

export function percent(share) {
	if (share > 0 && share < 0.001) return `< ${number(0.001, { style: "percent", maximumFractionDigits: 1 })}`;
	const digits = share > 0.995 && share < 1 ? 1 : 0;
	return number(share, { style: "percent", maximumFractionDigits: digits });
}

// "de" -> "German"; a code that is not known stays as it is.
export function languageName(code) {
	try {
		return new Intl.DisplayNames([language], { type: "language", fallback: "code" }).of(code.replace("_", "-")) ?? code;
	} catch {
		return code;
	}
}
