// Must be the first import of every document. It makes the page obey its own
// Content-Security-Policy without weakening it: style elements made by libraries
// get the document's nonce, and no text may become markup or a script address.

const meta = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]');

/** The nonce of this document, as the proxy wrote it; empty in development. */
export const styleNonce = meta?.nonce ?? '';

const create = document.createElement.bind(document);
document.createElement = ((name: string, options?: ElementCreationOptions) => {
  const made = create(name, options);
  if (made instanceof HTMLStyleElement) made.nonce = styleNonce;
  return made;
}) as typeof document.createElement;

interface Policies {
  createPolicy(
    name: string,
    rules: { createHTML(s: string): string; createScriptURL(s: string): string },
  ): unknown;
}

const policies = (window as unknown as { trustedTypes?: Policies }).trustedTypes;
policies?.createPolicy('default', {
  createHTML(text) {
    if (/<[a-z!/?]/i.test(text)) throw new TypeError('markup from text is refused');
    return text;
  },
  createScriptURL(text) {
    const url = new URL(text, document.baseURI);
    if (url.origin !== location.origin || !url.pathname.startsWith('/web/')) {
      throw new TypeError('a script from elsewhere is refused');
    }
    return text;
  },
});
