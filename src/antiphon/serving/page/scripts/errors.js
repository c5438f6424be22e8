// What went wrong, in the reader's language, and waiting for a server that is busy, restarting or out of reach.
import { element, icon } from "./dom.js";
import { dismiss, notice } from "./notices.js";
import { t } from "./texts.js";

const KNOWN = {
	0: "error.network",
	400: "error.refused",
	401: "error.key",
	403: "error.key",
	404: "error.not_found",
	408: "error.timeout",
	413: "error.too_large",
	422: "error.refused",
	429: "error.busy",
	500: "error.internal",
	502: "error.network",
	503: "error.unavailable",
	504: "error.timeout",
};

export function errorKey(error) {
	return KNOWN[error.status] ?? "error.other";
}

// A block with what happened, and the server's own sentence, which names fields, numbers and limits.
export function errorBlock(error) {
	const own = error.status === 0 || !error.message ? null : element("p", { class: "detail" }, error.message);
	return element("div", { class: "error", role: "alert" }, icon("warning"), element("div", {}, element("p", { t: errorKey(error) }), own));
}

// Run `act` again after each passing error, as long as `signal` is not aborted; other errors are thrown.
export async function patiently(act, signal) {
	for (let failures = 0; ; failures += 1) {
		try {
			const result = await act();
			dismiss("waiting");
			return result;
		} catch (error) {
			if (!error.passing || signal.aborted) {
				dismiss("waiting");
				throw error;
			}
			await wait(error, error.retryAfter ?? Math.min(2 ** failures, 15), signal);
		}
	}
}

async function wait(error, seconds, signal) {
	const what = () => t(errorKey(error));
	for (let left = Math.max(1, Math.ceil(seconds)); left > 0; left -= 1) {
		notice("waiting", ["wait", { what, seconds: left }], { level: "wait" });
		await pause(1000, signal);
	}
}

function pause(milliseconds, signal) {
	return new Promise((resolve, reject) => {
		const stop = () => {
			clearTimeout(timer);
			dismiss("waiting");
			reject(new DOMException("aborted", "AbortError"));
		};
		const timer = setTimeout(() => {
			signal.removeEventListener("abort", stop);
			resolve();
		}, milliseconds);
		signal.addEventListener("abort", stop, { once: true });
	});
}
