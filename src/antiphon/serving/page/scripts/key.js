// The API key, asked for when the server answers 401. It is stored for this tab alone.
import { button, element, fill } from "./dom.js";
import { recall, remember } from "./storage.js";

let asking = null;

export function storedKey() {
	return recall("key", null, "sessionStorage");
}

// True once a key was entered, false if the user gave up.
export function askForKey({ wrong = false } = {}) {
	asking ??= ask(wrong).finally(() => {
		asking = null;
	});
	return asking;
}

function ask(wrong) {
	const dialog = document.getElementById("key-dialog");
	const field = element("input", { id: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
	const form = element(
		"form",
		{ method: "dialog" },
		element("h2", { id: "key-title", t: "key.title" }),
		element("p", { t: wrong ? "key.wrong" : "key.why", class: wrong ? "bad" : "muted" }),
		element("label", { for: "key", t: "key.label" }),
		field,
		element(
			"div",
			{ class: "row end" },
			button("key.cancel", () => dialog.close("cancel"), { class: "plain" }),
			element("button", { type: "submit", value: "use", class: "strong", t: "key.use" }),
		),
	);
	fill(dialog, form);
	dialog.returnValue = "";
	dialog.showModal();
	field.focus();
	return new Promise((resolve) => {
		dialog.addEventListener(
			"close",
			() => {
				const entered = dialog.returnValue === "use" && field.value.trim() !== "";
				if (entered) remember("key", field.value.trim(), "sessionStorage");
				resolve(entered);
			},
			{ once: true },
		);
	});
}
