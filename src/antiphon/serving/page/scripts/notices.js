// Messages above the views: the state of the model, a busy server, no connection. One of each kind at a time.
import { button, element, icon } from "./dom.js";

const shown = new Map(); // kind -> node

// `text` is a key or [key, values]; `detail` a sentence of the server; `action` [key, act].
export function notice(kind, text, { detail = null, level = "info", action = null } = {}) {
	const node = element(
		"div",
		{ class: `notice ${level}`, data: { kind } },
		level === "wait" ? element("span", { class: "spinner", "aria-hidden": "true" }) : icon("warning"),
		element("div", {}, element("p", { t: text }), detail ? element("p", { class: "detail" }, detail) : null),
		action ? button(action[0], action[1]) : null,
	);
	const old = shown.get(kind);
	if (old) old.replaceWith(node);
	else document.getElementById("notices").append(node);
	shown.set(kind, node);
	return node;
}

export function dismiss(kind) {
	shown.get(kind)?.remove();
	shown.delete(kind);
}
