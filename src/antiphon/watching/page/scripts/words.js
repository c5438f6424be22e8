// Which words of a text are not in another one, in order.

const MAX_WORDS = 400;

export function wordsOf(text) {
  return text.match(/\S+\s*/gu) ?? [];
}

// The words of `text` as [{ word, changed }]: changed are those outside of the longest common subsequence with `other`.
export function changesOf(text, other) {
  const [own, theirs] = [wordsOf(text), wordsOf(other)];
  if (own.length > MAX_WORDS || theirs.length > MAX_WORDS) return [{ word: text, changed: text !== other }];
  const same = (i, j) => own[i].trim() === theirs[j].trim();
  const longest = Array.from({ length: own.length + 1 }, () => new Uint16Array(theirs.length + 1));
  for (let i = own.length - 1; i >= 0; i--) {
    for (let j = theirs.length - 1; j >= 0; j--) {
      longest[i][j] = same(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const found = [];
  let j = 0;
  for (let i = 0; i < own.length; i++) {
    while (j < theirs.length && !same(i, j) && longest[i][j + 1] >= longest[i + 1][j]) j++;
    const common = j < theirs.length && same(i, j);
    if (common) j++;
    found.push({ word: own[i], changed: !common });
  }
  return found;
}
