// An AudioWorklet that hands over what the microphone gives, a block at a time.
class Capture extends AudioWorkletProcessor {
	process([[samples]]) {
		if (samples) this.port.postMessage(samples.slice());
		return true;
	}
}

registerProcessor("capture", Capture);
