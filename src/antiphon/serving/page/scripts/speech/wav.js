// Sound as a .wav file: one channel, 16 bits a sample.

export const RATE = 16000; // Hz, which models of speech take

export function wavOf(samples, rate = RATE) {
	const bytes = new DataView(new ArrayBuffer(44 + samples.length * 2));
	const ascii = (at, text) => [...text].forEach((letter, place) => bytes.setUint8(at + place, letter.charCodeAt(0)));
	ascii(0, "RIFF");
	bytes.setUint32(4, 36 + samples.length * 2, true);
	ascii(8, "WAVEfmt ");
	bytes.setUint32(16, 16, true);
	bytes.setUint16(20, 1, true); // PCM
	bytes.setUint16(22, 1, true); // channels
	bytes.setUint32(24, rate, true);
	bytes.setUint32(28, rate * 2, true);
	bytes.setUint16(32, 2, true);
	bytes.setUint16(34, 16, true);
	ascii(36, "data");
	bytes.setUint32(40, samples.length * 2, true);
	samples.forEach((sample, at) => {
		const bounded = Math.min(Math.max(sample, -1), 1);
		bytes.setInt16(44 + at * 2, Math.round(bounded * (bounded < 0 ? 0x8000 : 0x7fff)), true);
	});
	return new Blob([bytes.buffer], { type: "audio/wav" });
}

// Samples at RATE, from those at another rate.
export async function resampled(samples, rate) {
	if (rate === RATE || samples.length === 0) return samples;
	const context = new OfflineAudioContext(1, Math.max(1, Math.round((samples.length * RATE) / rate)), RATE);
	const buffer = context.createBuffer(1, samples.length, rate);
	buffer.copyToChannel(samples, 0);
	const source = context.createBufferSource();
	source.buffer = buffer;
	source.connect(context.destination);
	source.start();
	return (await context.startRendering()).getChannelData(0);
}
