// What the page remembers. A browser may forbid storage; the page works without.

export function recall(name, otherwise = null, storage = "localStorage") {
	try {
		const found = window[storage].getItem(`antiphon.${name}`);
		return found === null ? otherwise : JSON.parse(found);
	} catch {
		return otherwise;
	}
}

export function remember(name, value, storage = "localStorage") {
	try {
		if (value === null) window[storage].removeItem(`antiphon.${name}`);
		else window[storage].setItem(`antiphon.${name}`, JSON.stringify(value));
	} catch {
		// Not stored: it holds until the page is left.
	}
}
