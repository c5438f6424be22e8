// Weights as colours: a small picture of a head, and a large table of one with its tokens.
import { element } from "../dom.js";
import { number, percent } from "../texts.js";


// The colours of weight 0 and of the largest weight, as [red, green, blue], from the style sheet.
export function scale() {
	const probe = element("span", { class: "heat-low hidden" });
	document.body.append(probe);
	const low = numbersOf(getComputedStyle(probe).color);
	probe.className = "heat-high hidden";
	const high = numbersOf(getComputedStyle(probe).color);
	probe.remove();
	return (share) => low.map((value, at) => Math.round(value + (high[at] - value) * Math.min(Math.max(share, 0), 1)));
}

function numbersOf(colour) {
	return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

// A canvas of one map (Q,K), a pixel a weight; weights that are null have none.
export function thumbnail(map, colour) {
	const canvas = element("canvas", { "aria-hidden": "true" });
	[canvas.width, canvas.height] = [map[0].length, map.length];
	const context = canvas.getContext("2d");
	const image = context.createImageData(canvas.width, canvas.height);
	const top = largest(map);
	map.flat().forEach((weight, at) => {
		const [red, green, blue] = colour(top > 0 ? (weight ?? 0) / top : 0);
		image.data.set([red, green, blue, 255], at * 4);
	});
	context.putImageData(image, 0, 0);
	return canvas;
}

export function largest(map) {
	return map.reduce((most, row) => row.reduce((top, weight) => Math.max(top, weight ?? 0), most), 0);
}

// The mean over layers and heads that have weights.
export function mean(maps) {
	const all = maps.flat().filter(hasWeights);
	return all[0].map((row, q) => row.map((_, k) => all.reduce((sum, map) => sum + (map[q][k] ?? 0), 0) / all.length));
}

export function hasWeights(map) {
	return map.some((row) => row.some((weight) => weight !== null));
}

const MOST = 100; // rows and columns of the table

// A table with a row a query and a column a key; `readout` is told the words of the cell that is pointed at.
export function heatTable(map, { rows, columns, caption, colour, readout }) {
	const [height, width] = [Math.min(rows.length, MOST), Math.min(columns.length, MOST)];
	const top = largest(map);
	const shown = columns.slice(0, width).map(label);
	const head = element("tr", {}, element("td", {}), ...shown.map((token) => element("th", { scope: "col" }, element("span", {}, token))));
	const body = map.slice(0, height).map((weights, q) => {
		const cells = weights.slice(0, width).map((weight, k) => {
			const share = top > 0 ? (weight ?? 0) / top : 0;
			const [red, green, blue] = colour(share);
			const cell = element("td", { data: { q: String(q), k: String(k) } }, weight >= 0.005 ? number(Math.round(weight * 100)) : "");
			cell.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
			cell.classList.add(0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "on-light" : "on-dark");
			return cell;
		});
		return element("tr", {}, element("th", { scope: "row" }, label(rows[q])), ...cells);
	});
	const table = element("table", { class: "heat" }, element("caption", { class: "hidden" }, caption), element("thead", {}, head), element("tbody", {}, ...body));
	table.classList.toggle("dense", width > 24);
	table.addEventListener("pointerover", ({ target }) => {
		const { q, k } = target.dataset;
		if (q !== undefined) readout(`${label(rows[q])} → ${label(columns[k])}: ${percent(map[q][k] ?? 0)}`);
	});
	if (rows.length <= MOST && columns.length <= MOST) return [table];
	return [table, element("p", { class: "muted", t: ["attention.cut", { most: MOST }] })];
}

// A token as a reader knows it: the mark of a word's beginning is a space.
function label(token) {
	return token.replace(/^[▁Ġ]/u, "") || "␣";
}
