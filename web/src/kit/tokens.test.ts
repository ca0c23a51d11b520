import { describe, expect, it } from 'vitest';
import { dark, light, type Tokens } from './tokens';

function luminance(hex: string): number {
  const part = (at: number) => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
}

function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

type Name = keyof Tokens;
const grounds: Name[] = ['canvas', 'surface', 'sunken'];
const texts: [Name, Name][] = [
  ...grounds.flatMap((g) => (['text', 'text2', 'text3'] as Name[]).map((t): [Name, Name] => [t, g])),
  ...(['canvas', 'surface', 'accentSoft'] as Name[]).map((g): [Name, Name] => ['accent', g]),
  ['text', 'accentSoft'],
  ['onAccent', 'accent'],
  ['onAccent', 'accentHover'],
  ...(['ok', 'warn', 'bad', 'info'] as const).flatMap((n): [Name, Name][] => [
    [n, 'surface'],
    [n, `${n}Soft`],
    ['text', `${n}Soft`],
    ['text2', `${n}Soft`],
  ]),
];
const shapes: [Name, Name][] = grounds.flatMap((g): [Name, Name][] => [
  ['lineStrong', g],
  ['focus', g],
]);

describe.each([
  ['light', light],
  ['dark', dark],
])('%s', (_, t) => {
  it.each(texts)('%s can be read on %s', (a, b) => expect(contrast(t[a], t[b])).toBeGreaterThanOrEqual(4.5));
  it.each(shapes)('%s can be seen on %s', (a, b) => expect(contrast(t[a], t[b])).toBeGreaterThanOrEqual(3));
});
