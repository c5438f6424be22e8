// Requests to the server that this page came from. Errors are ApiError: `code` for programs, `message` for people.
import { askForKey, storedKey } from "./key.js";

const ROOT = new URL(".", document.baseURI);

export class ApiError extends Error {
	constructor(message, { status = 0, code = "network", field = null, retryAfter = null } = {}) {
		super(message);
		Object.assign(this, { status, code, field, retryAfter });
	}

	// Whether the same request may succeed later without a change.
	get passing() {
		return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503;
	}
}

export function address(path) {
	return new URL(path.replace(/^\//, ""), ROOT).href;
}

// The response, if it is a success. `json` or `form` is the body of a POST.
export async function request(path, { json, form, method, signal } = {}) {
	for (;;) {
		const key = storedKey();
		const headers = key ? { Authorization: `Bearer ${key}` } : {};
		if (json !== undefined) headers["Content-Type"] = "application/json";
		const body = json === undefined ? form : JSON.stringify(json);
		let response;
		try {
			response = await fetch(address(path), { method: method ?? (body ? "POST" : "GET"), headers, body, signal });
		} catch (error) {
			if (error.name === "AbortError") throw error;
			throw new ApiError(error.message);
		}
		if (response.ok) return response;
		const error = await errorOf(response);
		if (error.status !== 401 || !(await askForKey({ wrong: Boolean(key) }))) throw error;
	}
}

export async function fetchJson(path, options) {
	return (await request(path, options)).json();
}

async function errorOf(response) {
	const given = { status: response.status, code: `http_${response.status}`, retryAfter: seconds(response) };
	try {
		const { error } = await response.json();
		if (typeof error === "string") return new ApiError(error, given);
		return new ApiError(error.message, { ...given, code: error.code ?? given.code, field: error.field ?? null });
	} catch {
		return new ApiError(response.statusText || `HTTP ${response.status}`, given);
	}
}

function seconds(response) {
	const found = Number.parseFloat(response.headers.get("Retry-After") ?? "");
	return Number.isFinite(found) ? found : null;
}

// The objects of a stream of server-sent events. Leaving the loop, or `signal`, ends the request.
export async function* events(path, { json, signal }) {
	const response = await request(path, { json, signal });
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	try {
		for (;;) {
			const { value, done } = await reader.read();
			if (done) break;
			const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
			rest = blocks.pop();
			for (const block of blocks) {
				const event = eventOf(block);
				if (event === "[DONE]") return;
				if (event !== null) yield event;
			}
		}
	} catch (error) {
		if (error.name === "AbortError" || error instanceof ApiError) throw error;
		throw new ApiError(error.message);
	} finally {
		void reader.cancel().catch(() => {});
	}
	throw new ApiError("The stream ended early.");
}

function eventOf(block) {
	const lines = block.split("\n");
	const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
	if (data.length === 0) return null;
	const text = data.join("\n");
	if (text === "[DONE]") return text;
	const found = JSON.parse(text);
	if (lines.some((line) => /^event: ?error$/.test(line)) || found.error) {
		throw new ApiError(found.error.message, { status: found.error.status ?? statusOf(found.error.code), ...found.error });
	}
	return found;
}

// Inside a stream there is no status line; the code says the same.
function statusOf(code) {
	return { invalid: 422, overloaded: 429, unavailable: 503, timeout: 504 }[code] ?? 500;
}
