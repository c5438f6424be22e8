// For models of speech: record, or drop a sound file, and read what was said.
import { fetchJson } from "../api.js";
import { element, icon, setIcon } from "../dom.js";
import { dropZone } from "../drop.js";
import { card, fillIn, generate, lead } from "../media.js";
import { currentModel } from "../models.js";
import { number, setText, t } from "../texts.js";
import { startRecording } from "./recorder.js";
import { RATE, wavOf } from "./wav.js";

export function createSpeech() {
	const name = element("span", { t: "speech.record" });
	const record = element("button", { type: "button", class: "record strong", on: { click: toggle } }, icon("microphone"), name);
	const level = element("span", { class: "level", "aria-hidden": "true" }, element("span", {}));
	const time = element("span", { class: "muted time", role: "timer" });
	const zone = dropZone({
		id: "sound",
		accept: ".wav,.flac,.ogg,.opus,.mp3",
		title: "speech.drop",
		kinds: element("span", { class: "muted", t: "speech.kinds" }),
		take: (file) => void transcribe(file, file.name),
	});
	const results = element("ol", { class: "transcripts", label: "speech.results" });
	let stop = null;

	const node = element(
		"div",
		{ class: "speech" },
		lead("speech.lead"),
		element("section", { class: "card record-card" }, record, level, time),
		...zone,
		results,
	);

	async function toggle() {
		if (stop) {
			const ending = stop;
			stop = null;
			showRecording(false);
			const samples = await ending();
			if (samples.length > RATE / 10) await transcribe(wavOf(samples), t("speech.recording"));
			return;
		}
		try {
			stop = await startRecording((loudness, seconds) => {
				level.firstChild.style.width = `${loudness * 100}%`;
				time.textContent = `${number(seconds, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} s`;
			});
			showRecording(true);
		} catch {
			// Refused by the user or by the browser: without https only the computer itself may be recorded.
			const key = window.isSecureContext ? "speech.refused" : "speech.insecure";
			results.prepend(element("li", { class: "card" }, element("p", { class: "bad", role: "alert", t: key })));
		}
	}

	function showRecording(on) {
		record.classList.toggle("recording", on);
		setIcon(record, on ? "stop" : "microphone");
		setText(name, "text", on ? "speech.stop" : "speech.record");
		if (!on) level.firstChild.style.width = "0";
	}

	async function transcribe(sound, title) {
		const play = element("button", { type: "button", class: "icon-button", label: "speech.play", hint: "speech.play", on: { click: () => void listen(sound) } }, icon("play"));
		const { row, text } = card(results, title, play);
		row.append(text);
		const { signal } = new AbortController();
		await fillIn(text, row, () => answerTo(sound, title, signal), signal);
	}

	return { node, shown: () => {} };
}

// A classifier of recordings tells the probabilities of its labels, which transcriptions have no field for.
async function answerTo(sound, title, signal) {
	const model = currentModel();
	if (!model.labels?.length) return fetchJson("v1/audio/transcriptions", { form: formOf(sound, title), signal });
	return generate(sound, "audio/wav", signal);
}

function formOf(sound, title) {
	const form = new FormData();
	form.append("file", sound, title.endsWith(".wav") ? title : "recording.wav");
	form.append("model", currentModel().name);
	form.append("response_format", "json");
	return form;
}

async function listen(sound) {
	const context = new AudioContext();
	const source = context.createBufferSource();
	source.buffer = await context.decodeAudioData(await sound.arrayBuffer());
	source.connect(context.destination);
	source.addEventListener("ended", () => void context.close());
	source.start();
}
