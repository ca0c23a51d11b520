// One-time codes (RFC 6238: SHA-1, six digits, thirty seconds).
import { createHmac } from 'node:crypto';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

function base32(text) {
  let bits = 0;
  let held = 0;
  const bytes = [];
  for (const ch of text.replace(/[\s=]/g, '').toUpperCase()) {
    const value = alphabet.indexOf(ch);
    if (value < 0) throw new Error(`no base32 digit: ${ch}`);
    held = (held << 5) | value;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((held >> bits) & 255);
    }
  }
  return Buffer.from(bytes);
}

export const stepAt = (ms) => Math.floor(ms / 30_000);

/** The code of a time step. */
export function code(secret, step) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', base32(secret)).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/**
 * The first code after that of a time step, which was used. The cluster takes one step
 * ahead of its clock; a code before the last that it took it does not take.
 */
export async function codeAfter(secret, used) {
  const step = Math.max(stepAt(Date.now()), used + 1);
  const early = (step - 1) * 30_000 - Date.now();
  if (early > 0) await new Promise((done) => setTimeout(done, early + 500));
  return code(secret, step);
}
