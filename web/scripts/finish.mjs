// Puts a .gz beside each text asset, so that the proxy compresses nothing while
// it serves. Documents stay plain: the proxy writes a nonce into them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';

const dist = new URL('../dist/', import.meta.url).pathname;

for (const name of readdirSync(dist, { recursive: true })) {
  if (!/\.(js|css|svg)$/.test(name)) continue;
  const file = join(dist, name);
  const plain = readFileSync(file);
  const packed = gzipSync(plain, { level: constants.Z_BEST_COMPRESSION });
  if (packed.length < plain.length) writeFileSync(`${file}.gz`, packed);
}
