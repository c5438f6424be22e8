// Words of an answer: where they are, how confident the model was, and which parts of the source they attended to.

const INSIDE = /[\p{L}\p{N}][:.,/@'’_&-]$/u; // a word goes on behind these: 03:47, e-mail, example.org

// The words of `text` as [{ start, end }]; punctuation belongs to the word before it. Works without spaces (Chinese).
export function splitWords(text, language) {
	const words = [];
	for (const { segment, index, isWordLike } of segmenter(language, "word").segment(text)) {
		if (segment.trim() === "") continue;
		const last = words.at(-1);
		const opens = /^[\p{Ps}¿¡]/u.test(segment);
		const inside = last && INSIDE.test(text.slice(last.start, last.end));
		const joined = last && last.end === index && (!isWordLike || !last.closed || inside) && !opens;
		if (joined) {
			last.end = index + segment.length;
			last.closed ||= isWordLike === true;
		} else {
			words.push({ start: index, end: index + segment.length, closed: isWordLike === true });
		}
	}
	return words.map(({ start, end }) => ({ start, end }));
}

export function countSentences(text, language) {
	return [...segmenter(language, "sentence").segment(text)].length;
}

function segmenter(language, granularity) {
	try {
		return new Intl.Segmenter(language || undefined, { granularity });
	} catch {
		return new Intl.Segmenter(undefined, { granularity });
	}
}

// The first word of `text` with the white space before it: what a forced prefix is continued by.
export function firstWord(text, language) {
	const [word] = splitWords(text, language);
	return word ? text.slice(0, word.end) : "";
}

// Where each of `tokens` is in `text`, as [start, end]. Tokenizers mark the beginnings of words in several ways and
// spell rare characters as bytes: what is between two tokens that were found belongs to those that were not.
export function tokenSpans(text, tokens) {
	const spans = [];
	let at = 0;
	for (const token of tokens) {
		const piece = token.replace(/^(?:▁|Ġ|##)+/u, "").replace(/(?:<\/w>|@@)$/u, "").replaceAll("▁", " ");
		const found = piece ? text.indexOf(piece, at) : at;
		if (found < 0 || found > at + 8) {
			spans.push(null);
			continue;
		}
		spans.push([found, found + piece.length]);
		at = found + piece.length;
	}
	return spans.map((span, place) => {
		if (span) return span;
		const before = spans.slice(0, place).findLast(Boolean);
		const after = spans.slice(place + 1).find(Boolean);
		return [before ? before[1] : 0, after ? after[0] : text.length];
	});
}

// The probability of a word: the product over its tokens. Null where the answer has no figures of tokens.
export function wordConfidence(word, spans, confidences) {
	const own = (confidences ?? []).filter((_, place) => spans[place] && overlaps(spans[place], [word.start, word.end]));
	return own.length === 0 ? null : own.reduce((product, share) => product * share, 1);
}

// What a word attended to, strongest first: [{ start, end, weight }] in characters of the source. The weights of the
// word's tokens are averaged.
export function attended(word, alignment) {
	const own = (alignment ?? []).filter(({ target }) => overlaps(target, [word.start, word.end]));
	const targets = new Set(own.map(({ target }) => target.join())).size;
	const sums = new Map();
	for (const { source, weight } of own) {
		const name = source.join();
		const found = sums.get(name) ?? { start: source[0], end: source[1], weight: 0 };
		found.weight += weight / targets;
		sums.set(name, found);
	}
	return [...sums.values()].filter(({ start, end }) => end > start).sort((a, b) => b.weight - a.weight);
}

// Parts of the source as words: the tokens of one word are added up, so that a reader sees words.
export function attendedWords(word, alignment, source, language) {
	const parts = attended(word, alignment);
	const words = splitWords(source, language).map(({ start, end }) => {
		const own = parts.filter((part) => overlaps([part.start, part.end], [start, end]));
		return { start, end, weight: own.reduce((sum, part) => sum + part.weight, 0) };
	});
	return words.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
}

// The probabilities of `scores` (nats) among themselves.
export function shares(scores) {
	const top = Math.max(...scores);
	const weights = scores.map((value) => Math.exp(value - top));
	const sum = weights.reduce((total, weight) => total + weight, 0);
	return weights.map((weight) => weight / sum);
}

function overlaps([a, b], [c, d]) {
	return a < d && c < b;
}
