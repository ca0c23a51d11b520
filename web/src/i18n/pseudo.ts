// en-XA: English with accents and two fifths more length. What is not translated
// or does not fit is seen at once.

const from = 'aceinouyACEINOUY';
const to = 'àçéîñôûýÀÇÉÎÑÔÛÝ';

export function pseudo(text: string): string {
  let depth = 0;
  let out = '';
  for (const ch of text) {
    if (ch === '{') depth++;
    const at = depth === 0 ? from.indexOf(ch) : -1;
    out += at < 0 ? ch : to[at];
    if (ch === '}') depth--;
  }
  return `[${out}${'·'.repeat(Math.ceil(text.length * 0.4))}]`;
}
