// Messages are in ICU's form: {name}, and {n, plural, one {# node} other {# nodes}}.

export type Params = Record<string, string | number>;

/** Fills a message. A parameter that is missing stays visible as its name. */
export function format(pattern: string, params: Params, language: string): string {
  let out = '';
  for (let i = 0; i < pattern.length; ) {
    if (pattern[i] !== '{') {
      out += pattern[i++];
      continue;
    }
    const end = closing(pattern, i);
    out += fill(pattern.slice(i + 1, end), params, language);
    i = end + 1;
  }
  return out;
}

/** The index of the brace that closes the one at `open`. */
function closing(s: string, open: number): number {
  let depth = 0;
  for (let i = open; i < s.length; i++) {
    if (s[i] === '{') depth++;
    else if (s[i] === '}' && --depth === 0) return i;
  }
  throw new SyntaxError(`unbalanced braces in ${JSON.stringify(s)}`);
}

function fill(inner: string, params: Params, language: string): string {
  const plural = /^\s*(\w+)\s*,\s*plural\s*,(.*)$/s.exec(inner);
  const name = plural?.[1] ?? inner.trim();
  const value = params[name];
  if (value === undefined) return `{${name}}`;
  const number = (n: number) => new Intl.NumberFormat(language).format(n);
  if (!plural) return typeof value === 'number' ? number(value) : value;
  const n = Number(value);
  const forms = pluralForms(plural[2] ?? '');
  const form = forms.get(new Intl.PluralRules(language).select(n)) ?? forms.get('other') ?? '';
  return format(form.replaceAll('#', number(n)), params, language);
}

function pluralForms(s: string): Map<string, string> {
  const forms = new Map<string, string>();
  for (let i = 0; i < s.length; ) {
    const open = s.indexOf('{', i);
    if (open < 0) break;
    const end = closing(s, open);
    forms.set(s.slice(i, open).trim(), s.slice(open + 1, end));
    i = end + 1;
  }
  return forms;
}

/** The parameters that a message names, for the test that catalogues agree. */
export function paramsOf(pattern: string): string[] {
  const found = new Set<string>();
  for (const m of pattern.matchAll(/\{\s*(\w+)\s*(?:,|\})/g)) if (m[1]) found.add(m[1]);
  return [...found].toSorted();
}

/** A message of the cluster as a sentence. */
export const sentence = (s: string): string => (s && `${s.charAt(0).toUpperCase()}${s.slice(1).replace(/\.+$/, '')}.`);
