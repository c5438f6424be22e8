// Files: dropped or chosen, sent, answered by the server, taken back.
import { address, ApiError, fetchJson, request } from "./api.js";
import { element, icon, iconButton, announce } from "./dom.js";
import { dropZone } from "./drop.js";
import { errorBlock, patiently } from "./errors.js";
import { choosesLanguages, currentModel } from "./models.js";
import { recall } from "./storage.js";
import { number, setText, t } from "./texts.js";

const KINDS = [".txt", ".tsv", ".html", ".srt", ".docx"];
const LOOK_MS = 500;

export function createFiles() {
	const zone = dropZone({
		id: "files",
		accept: [...KINDS, ".htm"].join(","),
		title: "files.drop",
		kinds: element("span", { class: "muted" }, KINDS.join(", ")),
		take: (file) => void send(file),
	});
	const list = element("ul", { class: "file-list", label: "files.list" });
	const node = element("div", { class: "files" }, element("p", { class: "lead", t: "files.lead" }), ...zone, list);

	async function send(file) {
		const stop = new AbortController();
		const progress = element("progress", { max: 1, label: ["files.progress", { name: file.name }] });
		const state = element("span", { class: "muted", t: "files.sending" });
		const end = element("span", { class: "row" });
		const remove = iconButton("clear", "files.remove", () => {
			stop.abort();
			row.remove();
		});
		const head = element("div", { class: "row between" }, element("span", { class: "file-name" }, file.name), end, remove);
		const row = element("li", { class: "card" }, icon("file"), element("div", { class: "file-body" }, head, progress, state));
		list.prepend(row);
		try {
			const last = await answered(file, progress, state, stop.signal);
			progress.remove();
			setText(state, "text", ["files.done", { total: () => number(last.total) }]);
			for (const warning of last.warnings ?? []) state.after(element("p", { class: "warning" }, warning));
			end.append(element("button", { type: "button", class: "strong", on: { click: () => save(last.download, file.name, row) } }, icon("download"), element("span", { t: "files.download" })));
			announce(t("files.ready", { name: file.name }));
		} catch (error) {
			if (error.name === "AbortError") return;
			progress.remove();
			state.replaceWith(errorBlock(error));
		}
	}

	async function answered(file, progress, state, signal) {
		let job = await patiently(() => fetchJson("v1/files", { form: formOf(file), signal }), signal);
		while (job.state === "waiting" || job.state === "running") {
			if (job.total > 0) progress.value = job.done / job.total;
			const { done, total } = job;
			setText(state, "text", total > 0 ? ["files.working", { done: () => number(done), total: () => number(total) }] : "files.waiting");
			await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
			signal.throwIfAborted();
			job = await patiently(() => fetchJson(`v1/files/${encodeURIComponent(job.id)}`, { signal }), signal);
		}
		if (job.state === "failed") throw new ApiError(job.error, { status: 422 });
		return job;
	}

	async function save(download, name, row) {
		try {
			const response = await request(new URL(download, address("")).pathname.replace(new URL(address("")).pathname, ""));
			const link = element("a", { href: URL.createObjectURL(await response.blob()), download: answerName(name) });
			link.click();
			setTimeout(() => URL.revokeObjectURL(link.href), 10000);
		} catch (error) {
			row.querySelector(".file-body").append(errorBlock(error));
		}
	}

	return { node, shown: () => {} };
}

function formOf(file) {
	const form = new FormData();
	const model = currentModel();
	form.append("file", file);
	form.append("model", model.name);
	const known = recall("languages", {});
	const source = choosesLanguages(model) ? known.source : model.source_languages?.[0];
	const target = choosesLanguages(model) ? known.target : model.target_languages?.[0];
	if (source) form.append("source", source);
	if (target) form.append("target", target);
	const { glossary, protect } = recall("settings", {});
	if (glossary) form.append("glossary", JSON.stringify(glossary));
	for (const name of protect ?? []) form.append("protect", name);
	return form;
}

// notes.txt -> notes.de.txt, by the language of the model, or notes.answer.txt.
function answerName(name) {
	const [model, known] = [currentModel(), recall("languages", {})];
	const code = choosesLanguages(model) ? known.target : model.target_languages?.[0];
	const at = name.lastIndexOf(".");
	return `${name.slice(0, at)}.${code ?? "answer"}${name.slice(at)}`;
}
