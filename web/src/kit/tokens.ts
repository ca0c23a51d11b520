// The colours of the house, once. theme.ts writes each as --t-name; a test
// computes the contrast of every pair that meets on a screen.

export const light = {
  canvas: '#f7f8fa',
  surface: '#ffffff',
  sunken: '#eef1f5',
  text: '#16191f',
  text2: '#4a5261',
  text3: '#626b7a',
  line: '#dfe3ea',
  lineStrong: '#7f8796',
  accent: '#1f5fd0',
  accentHover: '#1a52b6',
  onAccent: '#ffffff',
  accentSoft: '#e8f0fe',
  ok: '#12703c',
  warn: '#8a5300',
  bad: '#b4232c',
  info: '#5a3fc0',
  okSoft: '#e4f5ea',
  warnSoft: '#fdf1dc',
  badSoft: '#fdeaea',
  infoSoft: '#efebfd',
  focus: '#1f5fd0',
};

export type Tokens = typeof light;

export const dark: Tokens = {
  canvas: '#0f1216',
  surface: '#161a20',
  sunken: '#0b0d11',
  text: '#e8ebf0',
  text2: '#aeb6c4',
  text3: '#8f98a8',
  line: '#2a303a',
  lineStrong: '#727c8c',
  accent: '#7fb0ff',
  accentHover: '#9cc2ff',
  onAccent: '#08152b',
  accentSoft: '#18263f',
  ok: '#6fd39a',
  warn: '#f0b95a',
  bad: '#ff8f8f',
  info: '#b8a6ff',
  okSoft: '#12291d',
  warnSoft: '#2e2311',
  badSoft: '#351a1c',
  infoSoft: '#221c3d',
  focus: '#9cc2ff',
};
