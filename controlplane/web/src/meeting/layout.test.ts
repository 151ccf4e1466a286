import { describe, expect, it } from 'vitest';
import { arrangeGrid, arrangeStage, GRID_TILES_MAX, type Rect } from './layout';

const SURFACES = [
  [1280, 680],
  [1920, 960],
  [820, 1100],
  [375, 600],
  [320, 420],
  [640, 300],
] as const;
const GAP = 10;

describe('grid of tiles', () => {
  it('keeps every tile inside the surface and apart from the others, for 1 to 40 people', () => {
    for (const [width, height] of SURFACES) {
      for (let count = 1; count <= 40; count++) {
        const { rects, perPage } = arrangeGrid(count, width, height, GAP);
        expect(rects).toHaveLength(Math.min(count, perPage));
        expectSound(rects, width, height);
      }
    }
  });

  it('gives everybody the same size', () => {
    for (let count = 1; count <= GRID_TILES_MAX; count++) {
      const { rects } = arrangeGrid(count, 1280, 680, GAP);
      expect(new Set(rects.map(({ width, height }) => `${width}x${height}`)).size).toBe(1);
    }
  });

  it('shows 25 on a desktop and pages on a phone', () => {
    expect(arrangeGrid(30, 1280, 680, GAP).perPage).toBe(25);
    expect(arrangeGrid(30, 375, 600, GAP).perPage).toBeLessThan(25);
    expect(arrangeGrid(30, 375, 600, GAP).perPage).toBeGreaterThanOrEqual(8);
  });

  it('puts two side by side on a desktop and one above the other on a phone', () => {
    const desktop = arrangeGrid(2, 1280, 680, GAP).rects;
    expect(desktop[0]?.y).toBe(desktop[1]?.y);
    const phone = arrangeGrid(2, 375, 600, GAP).rects;
    expect(phone[0]?.x).toBe(phone[1]?.x);
  });

  it('never squeezes landscape video into portrait tiles on a wide surface', () => {
    for (let count = 1; count <= GRID_TILES_MAX; count++) {
      for (const { width, height } of arrangeGrid(count, 1280, 680, GAP).rects)
        expect(width).toBeGreaterThan(height * 1.3);
    }
  });

  it('centres an incomplete last row', () => {
    const rects = arrangeGrid(3, 1280, 680, GAP).rects;
    const last = rects[2] as Rect;
    expect(Math.abs(last.x + last.width / 2 - 640)).toBeLessThanOrEqual(1);
  });

  it('is empty while there is no room', () => {
    expect(arrangeGrid(4, 0, 0, GAP).rects).toEqual([]);
    expect(arrangeGrid(0, 1280, 680, GAP).rects).toEqual([]);
    expect(arrangeStage(4, 1280, 0, GAP).rects).toEqual([]);
  });
});

describe('stage with a strip', () => {
  it('keeps every tile inside the surface and the stage the largest', () => {
    for (const [width, height] of SURFACES) {
      for (let count = 1; count <= 30; count++) {
        const { rects, perPage } = arrangeStage(count, width, height, GAP);
        expect(rects).toHaveLength(Math.min(count, perPage));
        expectSound(rects, width, height);
        const [stage, ...strip] = rects as [Rect, ...Rect[]];
        for (const rect of strip) expect(area(rect)).toBeLessThan(area(stage));
      }
    }
  });

  it('has the strip at the side of a wide surface and below on a narrow one', () => {
    const [stage, first] = arrangeStage(4, 1280, 680, GAP).rects as [Rect, Rect];
    expect(first.x).toBeGreaterThanOrEqual(stage.x + stage.width);
    const [upper, below] = arrangeStage(4, 375, 600, GAP).rects as [Rect, Rect];
    expect(below.y).toBeGreaterThanOrEqual(upper.y + upper.height);
  });

  it('fills the surface when nobody else is there', () => {
    expect(arrangeStage(1, 800, 600, GAP).rects).toEqual([{ x: 0, y: 0, width: 800, height: 600 }]);
  });
});

function area({ width, height }: Rect): number {
  return width * height;
}

function expectSound(rects: readonly Rect[], width: number, height: number): void {
  for (const [index, rect] of rects.entries()) {
    expect(rect.width).toBeGreaterThan(0);
    expect(rect.height).toBeGreaterThan(0);
    expect(rect.x).toBeGreaterThanOrEqual(0);
    expect(rect.y).toBeGreaterThanOrEqual(0);
    expect(rect.x + rect.width).toBeLessThanOrEqual(width + 1);
    expect(rect.y + rect.height).toBeLessThanOrEqual(height + 1);
    for (const other of rects.slice(index + 1)) expect(overlap(rect, other)).toBe(false);
  }
}

function overlap(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
