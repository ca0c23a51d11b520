import { createTheme, defaultVariantColorsResolver, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';
import { dark, light, type Tokens } from './tokens';

const sans =
  '"Inter Variable", system-ui, -apple-system, "Segoe UI", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans KR Variable", sans-serif';
const mono =
  '"JetBrains Mono Variable", ui-monospace, "SF Mono", Menlo, Consolas, "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans KR Variable", monospace';

const blue: MantineColorsTuple = [
  '#e8f0fe', '#c9dcfb', '#a4c5fb', '#7fb0ff', '#5b93ee', '#3b79df', '#1f5fd0', '#1a52b6', '#164597', '#113878',
];
const neutrals: MantineColorsTuple = [
  '#e8ebf0', '#aeb6c4', '#8f98a8', '#727c8c', '#2a303a', '#20262f', '#161a20', '#0f1216', '#0b0d11', '#08090c',
];

const inputText = {
  label: { '--input-label-size': '13px', '--input-asterisk-color': undefined },
  description: { '--input-description-size': '12px' },
  error: { '--input-error-size': '12px' },
};

/** Mantine in our colours, sizes and type. */
export const theme = createTheme({
  primaryColor: 'blue',
  primaryShade: { light: 6, dark: 3 },
  colors: { blue, dark: neutrals },
  white: light.surface,
  black: light.text,
  fontFamily: sans,
  fontFamilyMonospace: mono,
  fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '20px' },
  lineHeights: { xs: '16px', sm: '20px', md: '20px', lg: '24px', xl: '28px' },
  spacing: { xs: '4px', sm: '8px', md: '12px', lg: '16px', xl: '24px', '2xl': '32px', '3xl': '48px' },
  radius: { xs: '4px', sm: '6px', md: '8px', lg: '12px', xl: '16px' },
  defaultRadius: 'sm',
  respectReducedMotion: true,
  focusRing: 'auto',
  cursorType: 'pointer',
  components: {
    InputWrapper: { vars: () => inputText },
    // Inside the page's landmarks, and with nothing in a menu but its items.
    Menu: {
      defaultProps: { withinPortal: false, floatingStrategy: 'fixed', withInitialFocusPlaceholder: false, shadow: 'md' },
    },
    // A dialog's head is no second banner of the page.
    Modal: { defaultProps: { attributes: { header: { role: 'none' } }, radius: 'lg', padding: 20, overlayProps: { backgroundOpacity: 0.4 } } },
  },
  variantColorResolver: (input) => {
    const usual = defaultVariantColorsResolver(input);
    if (input.variant === 'subtle') return { ...usual, hover: 'var(--t-accentSoft)', color: 'var(--t-accent)' };
    if (input.variant !== 'filled') return usual;
    return { ...usual, background: 'var(--t-accent)', hover: 'var(--t-accentHover)', color: 'var(--t-onAccent)' };
  },
});

function variables(t: Tokens): Record<string, string> {
  const own = Object.fromEntries(Object.entries(t).map(([name, colour]) => [`--t-${name}`, colour]));
  return {
    ...own,
    '--mantine-color-body': t.surface,
    '--mantine-color-text': t.text,
    '--mantine-color-dimmed': t.text2,
    '--mantine-color-placeholder': t.text3,
    '--mantine-color-error': t.bad,
    '--mantine-color-anchor': t.accent,
    '--mantine-color-default': t.surface,
    '--mantine-color-default-hover': t.sunken,
    '--mantine-color-default-color': t.text,
    '--mantine-color-default-border': t.lineStrong,
  };
}

/** Every token as --t-name, and the kit's own variables from them. */
export const resolver: CSSVariablesResolver = () => ({ variables: {}, light: variables(light), dark: variables(dark) });
