import { describe, expect, it } from 'vitest';
import { accountPageOf, nextPage } from './pages';

describe('pages about accounts', () => {
  it('are found by their address', () => {
    expect(accountPageOf('/setup')).toBe('setup');
    expect(accountPageOf('/admin/')).toBe('admin');
    for (const other of ['/', '/j/1', '/setup/x', '/toString']) expect(accountPageOf(other)).toBeUndefined();
  });

  it('lead back to this server only', () => {
    const origin = 'https://meet.example';
    expect(nextPage('', origin)).toBe('/account');
    expect(nextPage('?next=/', origin)).toBe('/');
    expect(nextPage('?next=/j/1?name=x', origin)).toBe('/j/1?name=x');
    for (const elsewhere of [
      '//evil.example',
      'https://evil.example/',
      '/\\evil.example',
      'javascript:alert(1)',
      'http://[',
    ]) {
      expect(nextPage(`?next=${encodeURIComponent(elsewhere)}`, origin)).toBe('/account');
    }
  });
});
