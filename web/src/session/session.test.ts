import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../api/cluster';
import { browser } from '../host/browser';
import { leaveWithOtherTabs, signOut } from './session';

afterEach(() => vi.restoreAllMocks());

test('a tab leaves once when it signs out itself, and when another one does', async () => {
  const left = vi.spyOn(browser, 'leaveFor').mockReturnValue(undefined);
  vi.spyOn(browser, 'recall').mockReturnValue('');
  vi.spyOn(browser, 'keep').mockReturnValue(undefined);
  vi.spyOn(api, 'signOut').mockResolvedValue(undefined);
  const other = new BroadcastChannel('session');
  const heard = new Promise((done) => (other.onmessage = done));
  const stop = leaveWithOtherTabs();
  await signOut();
  await heard;
  expect(left).toHaveBeenCalledTimes(1);
  other.postMessage('another tab');
  await vi.waitFor(() => expect(left).toHaveBeenCalledTimes(2));
  stop();
  other.close();
});
