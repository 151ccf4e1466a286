// The surface: all tiles of a page, as a grid, or as a stage with a strip while a screen is shared or a tile is pinned.
// Tiles are children of one element and only change their rectangle, so a video never restarts when the picture changes.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { t } from '../strings';
import { Icon } from '../ui/icon';
import { arrangeGrid, arrangeStage, type Rect } from './layout';
import type { TileView } from './model';
import { orderTiles } from './order';
import { Tile } from './tile';

const GAP = 10;

export function Surface({ tiles }: { tiles: readonly TileView[] }) {
  const element = useRef<HTMLDivElement>(null);
  const size = useSize(element);
  const [pinned, setPinned] = useState<string>();
  const [page, setPage] = useState(0);

  const stage = stageTile(tiles, pinned);
  const others = stage ? tiles.filter((tile) => tile !== stage) : tiles;
  const arrangement = stage
    ? arrangeStage(tiles.length, size.width, size.height, GAP)
    : arrangeGrid(tiles.length, size.width, size.height, GAP);
  const perPage = Math.max(1, arrangement.perPage - (stage ? 1 : 0));
  const ordered = useOrder(others, perPage);
  const pages = arrangement.perPage === 0 ? 1 : Math.ceil(ordered.length / perPage);
  const current = Math.min(page, Math.max(0, pages - 1));
  const onPage = ordered.slice(current * perPage, (current + 1) * perPage);
  const shown = stage ? [stage, ...onPage] : onPage;
  const rects = useMemo(
    () =>
      (stage
        ? arrangeStage(shown.length, size.width, size.height, GAP)
        : arrangeGrid(shown.length, size.width, size.height, GAP)
      ).rects,
    [stage !== undefined, shown.length, size.width, size.height],
  );

  return (
    <section
      ref={element}
      class="surface"
      aria-label={t.meeting.tiles}
      data-testid="surface"
      data-layout={stage ? 'stage' : 'grid'}
    >
      {[...shown.entries()]
        .filter(([index]) => rects[index] !== undefined)
        // In the order of the keys: moving a tile to another place must not move its element.
        .sort(([, a], [, b]) => (a.key < b.key ? -1 : 1))
        .map(([index, view]) => (
          <Tile
            key={view.key}
            view={view}
            rect={rects[index] as Rect}
            staged={view === stage}
            pinnable={tiles.length > 1}
            pinned={pinned === view.key}
            onPin={setPinned}
          />
        ))}
      {pages > 1 && (
        <Pager page={current} pages={pages} corner={cornerOf(stage && rects[0], size)} onPage={setPage} />
      )}
    </section>
  );
}

interface PagerProps {
  readonly page: number;
  readonly pages: number;
  readonly corner: { readonly right: string; readonly bottom: string };
  readonly onPage: (page: number) => void;
}

function Pager({ page, pages, corner, onPage }: PagerProps) {
  return (
    <div class="pager" style={corner}>
      <button
        type="button"
        class="icon-button"
        aria-label={t.meeting.previous}
        disabled={page === 0}
        onClick={() => onPage(page - 1)}
      >
        <Icon name="previous" />
      </button>
      <span role="status" aria-label={t.meeting.page(page + 1, pages)}>
        {page + 1}/{pages}
      </span>
      <button
        type="button"
        class="icon-button"
        aria-label={t.meeting.next}
        disabled={page === pages - 1}
        onClick={() => onPage(page + 1)}
      >
        <Icon name="next" />
      </button>
    </div>
  );
}

/** The lower right corner of the stage, or of the whole surface when it is a grid. */
function cornerOf(
  stage: Rect | undefined,
  size: { width: number; height: number },
): { right: string; bottom: string } {
  const right = stage ? size.width - stage.x - stage.width : 0;
  const bottom = stage ? size.height - stage.y - stage.height : 0;
  return { right: `${right + 8}px`, bottom: `${bottom + 8}px` };
}

/** What stands on the stage: the pinned tile, else the newest shared screen. */
function stageTile(tiles: readonly TileView[], pinned: string | undefined): TileView | undefined {
  return (
    tiles.find((tile) => tile.key === pinned && tiles.length > 1) ??
    tiles.findLast((tile) => tile.kind === 'screen')
  );
}

function useOrder(tiles: readonly TileView[], shown: number): TileView[] {
  const previous = useRef<readonly string[]>([]);
  const spokeAt = useRef(new Map<string, number>());
  const byKey = new Map(tiles.map((tile) => [tile.key, tile]));
  const speaking = new Set(
    tiles.filter((tile) => tile.person.speaking && tile.kind === 'camera').map((tile) => tile.key),
  );
  const fixed = tiles[0]?.person.local ? 1 : 0;
  const order = orderTiles(previous.current, [...byKey.keys()], speaking, spokeAt.current, shown, fixed);
  useEffect(() => {
    previous.current = order;
    const now = Date.now();
    for (const key of speaking) spokeAt.current.set(key, now);
  });
  return order.flatMap((key) => byKey.get(key) ?? []);
}

function useSize(element: { readonly current: HTMLElement | null }): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    const measure = (): void => setSize({ width: target.clientWidth, height: target.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(target);
    return () => observer.disconnect();
  }, [element]);
  return size;
}
