import { describe, expect, it } from 'vitest';
import {
  meetingId,
  meetingNumber,
  meetingPath,
  numberOfPath,
  parseMeetingLink,
  readableNumber,
} from './links';

const ORIGIN = 'https://meet.example';
const NUMBER = '7962612931791689290';

describe('meeting links', () => {
  it('turn an id into a path and back', () => {
    expect(meetingNumber(meetingId(NUMBER))).toBe(NUMBER);
    expect(numberOfPath(meetingPath(NUMBER))).toBe(NUMBER);
    expect(numberOfPath(`/j/${NUMBER}/`)).toBe(NUMBER);
  });

  it.each(['/', '/j/', '/j/abc', '/j/12/34', '/j/12345678901234567890', '/x/1'])(
    'ignore the path %s',
    (path) => {
      expect(numberOfPath(path)).toBeUndefined();
    },
  );

  it.each([
    NUMBER,
    ` ${NUMBER} `,
    readableNumber(NUMBER),
    '7962-6129-3179-1689-290',
    `meeting_${NUMBER}`,
    `/j/${NUMBER}`,
    `${ORIGIN}/j/${NUMBER}`,
    `${ORIGIN}/j/${NUMBER}?name=x#y`,
    `meet.example/j/${NUMBER}`,
  ])('are understood as pasted: %s', (text) => {
    expect(parseMeetingLink(text, ORIGIN)).toEqual({ number: NUMBER });
  });

  it('of another server name that server', () => {
    expect(parseMeetingLink(`http://other.example:7880/j/42?autojoin=1`, ORIGIN)).toEqual({
      number: '42',
      elsewhere: 'http://other.example:7880/j/42',
    });
  });

  it.each([
    '',
    '   ',
    'nonsense',
    'meeting_',
    'meeting_x',
    'https://meet.example/',
    'javascript://x/j/1',
    'ftp://h/j/1',
  ])('refuse %j', (text) => {
    expect(parseMeetingLink(text, ORIGIN)).toBeUndefined();
  });
});
