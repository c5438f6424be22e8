// Tabs as the model allows them; the address names the one that is open.
import { element, fill } from "./dom.js";
import { t } from "./texts.js";

// `views`: [{ name, label (a key), view: { node, shown } }]
export function createTabs() {
	const list = document.getElementById("tabs");
	const content = document.getElementById("content");
	let views = [];
	let open = null;

	function set(next) {
		views = next;
		fill(list, ...views.map(tab));
		fill(content, ...views.map(panel));
		select(location.hash.slice(1));
	}

	function tab({ name, label }) {
		return element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, t: label, on: { click: () => go(name) } });
	}

	function panel({ name, view }) {
		return element("section", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` }, view.node);
	}

	function go(name) {
		if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
		select(name);
	}

	function select(name) {
		const named = (wanted) => views.find((entry) => entry.name === wanted);
		open = named(name) ?? named(open?.name) ?? views[0];
		document.title = `${t(open.label)} – Antiphon`;
		for (const { name: each } of views) {
			const chosen = each === open.name;
			const button = document.getElementById(`tab-${each}`);
			button.setAttribute("aria-selected", String(chosen));
			button.tabIndex = chosen ? 0 : -1;
			document.getElementById(`panel-${each}`).hidden = !chosen;
		}
		open.view.shown();
	}

	list.addEventListener("keydown", (event) => {
		const place = views.indexOf(open);
		const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: views.length - 1 };
		if (!(event.key in steps)) return;
		const next = views[(steps[event.key] + views.length) % views.length];
		go(next.name);
		document.getElementById(`tab-${next.name}`).focus();
		event.preventDefault();
	});
	document.addEventListener("language", () => select());
	window.addEventListener("popstate", () => select(location.hash.slice(1)));

	return { set, refresh: () => open?.view.shown() };
}
