// For models of images: drop, choose or paste an image, ask about it, and read the answer.
import { fetchJson } from "../api.js";
import { announce, button, copyButton, element, fill, iconButton } from "../dom.js";
import { dropZone } from "../drop.js";
import { errorBlock, patiently } from "../errors.js";
import { currentModel } from "../models.js";
import { percent, t } from "../texts.js";
import { labelBars } from "../try/labels.js";

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
  const node = element("div", { class: "images" }, element("p", { class: "lead", t: "images.lead" }), ...zone, form, results);
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
    const text = element("p", { class: "transcript", dir: "auto" }, element("span", { class: "pending" }, "…"));
    const body = element("div", { class: "image-body" }, asked ? element("p", { class: "asked", dir: "auto" }, asked) : null, text);
    const remove = iconButton("clear", "files.remove", () => {
      stop.abort();
      URL.revokeObjectURL(address);
      row.remove();
    });
    const head = element("div", { class: "card-head" }, element("h3", { class: "file-name" }, file.name), element("span", { class: "row" }, copyButton(() => text.textContent), remove));
    const row = element("li", { class: "card" }, head, element("div", { class: "image-pair" }, shown, body));
    results.prepend(row);
    try {
      const answer = await patiently(() => answerTo(file, asked, stop.signal), stop.signal);
      fill(text, answer.text || t("speech.silence"));
      if (answer.probabilities) body.append(labelBars(answer.probabilities));
      else body.append(element("p", { class: "muted small", t: ["answer.confidence", { share: () => percent(answer.confidence) }] }));
      for (const warning of answer.warnings ?? []) body.append(element("p", { class: "warning" }, warning));
      announce(answer.text);
    } catch (error) {
      if (error.name !== "AbortError") text.replaceWith(errorBlock(error));
    }
  }

  return { node, shown: () => (form.hidden = Boolean(currentModel()?.labels?.length)) };
}

async function answerTo(file, prompt, signal) {
  const json = { model: currentModel().name, inputs: await dataUrl(file), ...(prompt ? { prompt } : {}) };
  return (await fetchJson("v1/generate", { json, signal })).answers[0];
}

// The server reads the format from the content, whatever the browser takes it for.
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(`data:image/png;base64,${reader.result.split(",")[1] ?? ""}`);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
