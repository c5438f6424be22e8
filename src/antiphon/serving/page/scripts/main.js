// The page: texts, colours, the model, and a tab for each thing that the model can do.
import { createAbout } from "./about.js";
import { createAttention } from "./attention/view.js";
import { startIcons } from "./dom.js";
import { createFiles } from "./files.js";
import { createImages } from "./images/view.js";
import { currentModel, startModels } from "./models.js";
import { createSpeech } from "./speech/view.js";
import { recall, remember } from "./storage.js";
import { createTabs } from "./tabs.js";
import { startTexts } from "./texts.js";
import { createTry } from "./try/view.js";

function startTheme() {
	const select = document.getElementById("theme");
	select.value = recall("theme", "auto");
	select.addEventListener("change", () => {
		remember("theme", select.value);
		if (select.value === "auto") delete document.documentElement.dataset.theme;
		else document.documentElement.dataset.theme = select.value;
		document.dispatchEvent(new CustomEvent("colours"));
	});
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("colours")));
}

const TASKS = new Set(["translation", "summarization", "classification"]);

// Which tabs there are depends on the input and the task.
function viewsOf(model, made) {
	const task = TASKS.has(model?.task) ? model.task : "text";
	const about = { name: "about", label: "tab.about", view: made.about };
	if (model?.input === "speech") return [{ name: "speech", label: "tab.speech", view: made.speech }, about];
	if (model?.input === "image") return [{ name: "images", label: "tab.images", view: made.images }, about];
	return [
		{ name: "try", label: `tab.${task}`, view: made.try },
		{ name: "attention", label: "tab.attention", view: made.attention },
		...(task === "translation" || task === "text" ? [{ name: "files", label: "tab.files", view: made.files }] : []),
		about,
	];
}

async function start() {
	startTheme();
	await Promise.all([startTexts(), startIcons()]);
	const shared = { source: "", target: "" };
	const tabs = createTabs();
	const made = { try: createTry(shared), attention: createAttention(shared), files: createFiles(), speech: createSpeech(), images: createImages(), about: createAbout() };
	let kind = "";
	document.addEventListener("model", () => {
		const model = currentModel();
		const next = `${model?.input} ${model?.task}`;
		if (next !== kind) tabs.set(viewsOf(model, made));
		else tabs.refresh();
		kind = next;
	});
	tabs.set(viewsOf(null, made));
	await startModels();
}

void start();
