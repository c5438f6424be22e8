// For models of images: drop, choose or paste an image, ask about it, and read the answer.
import { button, element, iconButton } from "../dom.js";
import { dropZone } from "../drop.js";
import { card, fillIn, generate, lead } from "../media.js";
import { currentModel } from "../models.js";
import { percent, t } from "../texts.js";

const KINDS = ".png,.jpg,.jpeg,.tif,.tiff,.webp,.gif,.bmp";

export function createImages() {
	const question = element("input", { type: "text", id: "image-question", placeholder: "images.question.placeholder", autocomplete: "off", "aria-describedby": "image-question-help" });
	const again = button("images.ask", () => last && void ask(last), { class: "strong", disabled: true });
	const form = element(
		"form",
		{ class: "card question-card", on: { submit: (event) => event.preventDefault() } },
		element(
			"div",
			{ class: "field" },
			element("label", { for: "image-question", t: "images.question" }),
			element("div", { class: "row" }, question, again),
			element("p", { class: "muted", id: "image-question-help", t: "images.question.help" }),
		),
	);
	const zone = dropZone({ id: "image", accept: KINDS, title: "images.drop", kinds: element("span", { class: "muted", t: "images.kinds" }), take: (file) => void ask(file) });
	const results = element("ol", { class: "transcripts", label: "images.results" });
	const node = element("div", { class: "images" }, lead("images.lead"), ...zone, form, results);
	let last = null; // the image that a question is about

	question.addEventListener("keydown", (event) => {
		if (event.key !== "Enter" || event.isComposing || !last) return;
		event.preventDefault();
		void ask(last);
	});
	document.addEventListener("paste", (event) => {
		if (node.closest("[hidden]") || !node.isConnected) return;
		const pasted = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
		if (pasted.length > 0) event.preventDefault();
		for (const file of pasted) void ask(file);
	});

	async function ask(file) {
		last = file;
		again.disabled = false;
		const asked = form.hidden ? "" : question.value.trim();
		const stop = new AbortController();
		const address = URL.createObjectURL(file);
		const shown = element("img", { class: "seen", src: address });
		shown.alt = t("images.alt", { name: file.name });
		shown.addEventListener("error", () => shown.replaceWith(element("span", { class: "seen muted", t: "images.unseen" })));
		const remove = iconButton("clear", "files.remove", () => {
			stop.abort();
			URL.revokeObjectURL(address);
			row.remove();
		});
		const { row, text } = card(results, file.name, remove);
		const body = element("div", { class: "image-body" }, asked ? element("p", { class: "asked", dir: "auto" }, asked) : null, text);
		row.append(element("div", { class: "image-pair" }, shown, body));
		const answer = await fillIn(text, body, () => generate(file, "image/png", stop.signal, asked), stop.signal);
		if (!answer) return;
		if (!answer.probabilities) body.append(element("p", { class: "muted small", t: ["answer.confidence", { share: () => percent(answer.confidence) }] }));
		for (const warning of answer.warnings ?? []) body.append(element("p", { class: "warning" }, warning));
	}

	return { node, shown: () => (form.hidden = Boolean(currentModel()?.labels?.length)) };
}
