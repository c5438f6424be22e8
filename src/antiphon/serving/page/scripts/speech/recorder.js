// The microphone: start() asks for it, stop() gives the samples at 16 kHz.
import { resampled } from "./wav.js";

// `heard(level, seconds)` is called for each block, with a level from 0 to 1.
export async function startRecording(heard) {
	const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
	const context = new AudioContext();
	await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
	const source = context.createMediaStreamSource(stream);
	const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
	const blocks = [];
	let count = 0;
	capture.port.onmessage = ({ data }) => {
		blocks.push(data);
		count += data.length;
		const power = data.reduce((sum, sample) => sum + sample * sample, 0) / data.length;
		heard(Math.min(1, Math.sqrt(power) * 4), count / context.sampleRate);
	};
	source.connect(capture);

	return async function stop() {
		for (const track of stream.getTracks()) track.stop();
		source.disconnect();
		const rate = context.sampleRate;
		await context.close();
		const samples = new Float32Array(count);
		let at = 0;
		for (const block of blocks) {
			samples.set(block, at);
			at += block.length;
		}
		return resampled(samples, rate);
	};
}
