// Elements. Text reaches the document by `textContent` alone, so that no text of a user or a model is read as HTML.
import { setText } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

// element("button", { class: "plain", t: "copy", on: { click } }, child, "text") -> HTMLElement
// `t` is a key of the texts, or [key, values]; `label` and `hint` the same for aria-label and title.
export function element(tag, properties = {}, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(properties)) {
		if (value === undefined || value === null || value === false) continue;
		if (name === "t") setText(node, "text", value);
		else if (name === "label") setText(node, "aria-label", value);
		else if (name === "hint") setText(node, "title", value);
		else if (name === "placeholder") setText(node, "placeholder", value);
		else if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
		else if (name === "data") Object.assign(node.dataset, value);
		else if (name in node && typeof value !== "string") node[name] = value;
		else node.setAttribute(name, value === true ? "" : String(value));
	}
	node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

// The icons become a part of the document, which `icon` refers to.
export async function startIcons() {
	const drawn = new DOMParser().parseFromString(await (await fetch("icons.svg")).text(), "image/svg+xml").documentElement;
	drawn.setAttribute("class", "hidden");
	drawn.setAttribute("aria-hidden", "true");
	document.body.append(drawn);
}

export function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("class", "icon");
	svg.setAttribute("aria-hidden", "true");
	const use = document.createElementNS(SVG, "use");
	svg.append(use);
	setIcon(svg, name);
	return svg;
}

// Exchange the icon in `node`.
export function setIcon(node, name) {
	node.querySelector("use").setAttribute("href", `#icon-${name}`);
}

// A button with an icon; its name is read aloud and shown on hover.
export function iconButton(name, label, click, properties = {}) {
	const classes = `icon-button ${properties.class ?? ""}`.trim();
	return element("button", { type: "button", ...properties, class: classes, label, hint: label, on: { click } }, icon(name));
}

export function button(t, click, properties = {}) {
	return element("button", { type: "button", ...properties, t, on: { click } });
}

export function fill(node, ...children) {
	node.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

// For screen readers: a sentence that is read when it changes.
export function announce(text) {
	const live = document.getElementById("live");
	if (live) live.textContent = text;
}

export function later(act, milliseconds) {
	let timer = 0;
	const run = (...values) => {
		clearTimeout(timer);
		timer = setTimeout(act, milliseconds, ...values);
	};
	run.cancel = () => clearTimeout(timer);
	return run;
}

export async function copyText(text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		// Without https the clipboard is not offered; the old way is.
		const field = element("textarea", { class: "hidden", "aria-hidden": "true" });
		field.value = text;
		document.body.append(field);
		field.select();
		document.execCommand("copy");
		field.remove();
	}
}

export function copyButton(text) {
	const copied = () => {
		void copyText(text()).then(() => {
			setIcon(node, "check");
			setTimeout(setIcon, 1500, node, "copy");
		});
	};
	const node = iconButton("copy", "copy", copied);
	return node;
}
