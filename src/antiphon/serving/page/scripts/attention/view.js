// A map of heads and layers: every head as a small picture, one of them large with its tokens.
import { fetchJson } from "../api.js";
import { element, fill, later } from "../dom.js";
import { errorBlock, patiently } from "../errors.js";
import { canAnswer, currentModel } from "../models.js";
import { t } from "../texts.js";
import { hasWeights, heatTable, mean, scale, thumbnail } from "./heat.js";

const ROLES = ["cross", "encoder", "decoder"];

export function createAttention(shared) {
	const ask = later(load, 250);
	const source = field("attention-source", "source");
	const target = field("attention-target", "attention.target");
	const roles = element("div", { class: "segmented", role: "group", label: "attention.role" });
	const heads = element("div", { class: "heads" });
	const large = element("div", { class: "large" });
	const reading = element("p", { class: "inspector" });
	let stop = new AbortController();
	let maps = null;
	let chosen = { role: "cross", layer: null, head: null };
	let asked = "";

	const node = element(
		"div",
		{ class: "attention" },
		element("p", { class: "lead", t: "attention.lead" }),
		element("div", { class: "pair fields-pair" }, source.node, target.node),
		roles,
		element("div", { class: "map-pair" }, element("section", { class: "card" }, element("h2", { t: "attention.heads" }), heads), element("section", { class: "card" }, large, reading)),
	);

	function field(id, label) {
		const input = element("textarea", { id, rows: "2", spellcheck: "false", dir: "auto", on: { input: () => ask() } });
		return { input, node: element("div", { class: "field" }, element("label", { for: id, t: label }), input) };
	}

	async function load() {
		stop.abort();
		stop = new AbortController();
		const { signal } = stop;
		const text = source.input.value.trim();
		if (text === "" || !canAnswer()) {
			clear(element("p", { class: "muted", t: "attention.empty" }));
			return;
		}
		const json = { model: currentModel().name, source: text };
		if (target.input.value.trim() !== "") json.target = target.input.value.trim();
		node.setAttribute("aria-busy", "true");
		try {
			maps = await patiently(() => fetchJson("v1/attention", { json, signal }), signal);
			asked = JSON.stringify(json);
			draw();
		} catch (error) {
			if (error.name === "AbortError") return;
			clear(errorBlock(error));
		} finally {
			if (!signal.aborted) node.removeAttribute("aria-busy");
		}
	}

	function clear(reason) {
		maps = null;
		fill(roles);
		fill(large);
		fill(heads, reason);
	}

	function draw() {
		const there = ROLES.filter((role) => maps[role]?.flat().some(hasWeights));
		if (!there.includes(chosen.role)) chosen = { role: there[0] ?? null, layer: null, head: null };
		const choices = there.map((role) => element("button", { type: "button", t: `attention.${role}`, "aria-pressed": String(role === chosen.role), on: { click: () => choose({ role, layer: null, head: null }) } }));
		fill(roles, ...choices);
		reading.textContent = "";
		if (!chosen.role) {
			fill(heads, element("p", { class: "muted", t: "attention.none" }));
			fill(large);
			return;
		}
		drawHeads();
		drawLarge();
	}

	function choose(next) {
		chosen = next;
		const pressed = document.activeElement?.dataset?.name;
		draw();
		if (pressed) heads.querySelector(`[data-name="${pressed}"]`)?.focus();
	}

	function drawHeads() {
		const colour = scale();
		const layers = maps[chosen.role];
		const most = Math.max(...layers.map((layer) => layer.length));
		const all = element("button", { type: "button", class: "chip", data: { name: "mean" }, "aria-pressed": String(chosen.layer === null), t: "attention.mean", on: { click: () => choose({ ...chosen, layer: null, head: null }) } });
		const rows = layers.map((layer, l) => {
			const cells = layer.map((map, h) => headButton(map, l, h, colour));
			const row = element("div", { class: "head-row" }, element("span", { class: "muted", t: ["attention.layer", { layer: l + 1 }] }), ...cells);
			row.style.setProperty("--heads", String(most));
			return row;
		});
		fill(heads, all, ...rows);
	}

	function headButton(map, layer, head, colour) {
		const label = ["attention.open", { layer: layer + 1, head: head + 1 }];
		const pressed = String(chosen.layer === layer && chosen.head === head);
		const properties = { type: "button", class: "head", label, hint: label, data: { name: `${layer}-${head}` }, "aria-pressed": pressed };
		if (!hasWeights(map)) return element("button", { ...properties, disabled: true }, "–");
		return element("button", { ...properties, on: { click: () => choose({ ...chosen, layer, head }) } }, thumbnail(map, colour));
	}

	function drawLarge() {
		const { role, layer, head } = chosen;
		const layers = maps[role];
		const map = layer === null ? mean(layers) : layers[layer][head];
		const rows = role === "encoder" ? maps.source_tokens : maps.target_tokens;
		const read = ["", ...maps.target_tokens.slice(0, -1)];
		const columns = role === "decoder" ? read : maps.source_tokens;
		const place = layer === null ? t("attention.mean") : t("attention.open", { layer: layer + 1, head: head + 1 });
		const title = `${t(`attention.${role}`)}: ${place}`;
		const table = heatTable(map, { rows, columns, caption: title, colour: scale(), readout: (text) => (reading.textContent = text) });
		const axes = element("p", { class: "muted", t: `attention.axes.${role}` });
		fill(large, element("h2", {}, title), axes, element("div", { class: "scroll", tabindex: "0", role: "region", label: "attention.table" }, ...table));
	}

	// The text of the other tab is shown here too, unless it was changed here.
	function shown() {
		const wanted = shared.source || source.input.value;
		if (wanted && (wanted !== source.input.value || !maps)) {
			source.input.value = wanted;
			target.input.value = shared.target ?? "";
		}
		const json = { model: currentModel()?.name, source: source.input.value.trim(), ...(target.input.value.trim() && { target: target.input.value.trim() }) };
		if (JSON.stringify(json) !== asked) void load();
	}

	document.addEventListener("language", () => maps && draw());
	document.addEventListener("colours", () => maps && draw());
	return { node, shown };
}
