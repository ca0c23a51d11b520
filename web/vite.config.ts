import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// The proxy puts a fresh nonce where this word stands in a document, and the
// same one into that answer's Content-Security-Policy.
const noncePlace = '__CSP_NONCE__';

export default defineConfig(({ command }) => ({
  base: '/web/',
  plugins: [react()],
  html: command === 'build' ? { cspNonce: noncePlace } : {},
  build: {
    target: 'es2023',
    assetsInlineLimit: 0, // data: addresses are outside the policy
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ['signin.html', 'index.html'] },
  },
  test: { environment: 'node', include: ['src/**/*.test.ts', 'src/**/*.test.tsx'] },
  server: {
    // Pages from here, answers from a cluster on this machine.
    proxy: {
      '/webapi': {
        target: process.env.TELEPORT_URL ?? 'https://127.0.0.1:3080',
        secure: false,
        changeOrigin: true,
        headers: { origin: process.env.TELEPORT_URL ?? 'https://127.0.0.1:3080' },
      },
    },
  },
}));
