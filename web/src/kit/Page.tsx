import { MantineProvider } from '@mantine/core';
import { Component, StrictMode, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import { styleNonce } from '../host/harden';
import { TextContext, chooseLanguage, chosenLanguage, loadText, type Language, type Text } from '../i18n/text';
import { useCallback, useMemo, useState } from 'react';
import { ChangeLanguage } from './language';
import { schemes } from './scheme';
import { resolver, theme } from './theme';
import { Crash } from './Crash';

/** Renders a document: theme, language, and a net under everything. */
export async function mount(content: ReactNode): Promise<void> {
  const root = document.getElementById('root');
  if (!root) throw new Error('the document has no root');
  const text = await loadText(chosenLanguage());
  createRoot(root).render(
    <StrictMode>
      <Providers text={text}>{content}</Providers>
    </StrictMode>,
  );
}

function Providers({ text: first, children }: { text: Text; children: ReactNode }) {
  const [text, setText] = useState(first);
  const change = useCallback(async (language: Language) => {
    chooseLanguage(language);
    setText(await loadText(language));
  }, []);
  const nonce = useMemo(() => () => styleNonce, []);
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={resolver}
      colorSchemeManager={schemes}
      defaultColorScheme="auto"
      getStyleNonce={nonce}
    >
      <TextContext value={text}>
        <ChangeLanguage value={change}>
          <Net>{children}</Net>
        </ChangeLanguage>
      </TextContext>
    </MantineProvider>
  );
}

/** Net catches what falls while drawing, and offers the part anew. */
export class Net extends Component<{ children: ReactNode }, { fallen: boolean }> {
  override state = { fallen: false };
  static getDerivedStateFromError() {
    return { fallen: true };
  }
  override render() {
    return this.state.fallen ? <Crash again={() => this.setState({ fallen: false })} /> : this.props.children;
  }
}
