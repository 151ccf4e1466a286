// The surface: all tiles of a page, as a grid, or as a stage with a strip while a screen is shared or a tile is pinned.
// Tiles are children of one element and only change their rectangle, so a video never restarts when the picture changes.

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { t } from '../strings';
import { Icon } from '../ui/icon';
import { type Arrangement, arrangeGrid, arrangeStage, type Rect } from './layout';
import type { TileView } from './model';
import { orderTiles } from './order';
import type { Reductions } from './reduction';
import { Tile } from './tile';

const GAP = 10;
/** The pager below a grid, with its distance. */
const PAGER_HEIGHT = 52;

interface SurfaceProps {
  readonly tiles: readonly TileView[];
  readonly reductions: Reductions;
}

export function Surface({ tiles, reductions }: SurfaceProps) {
  const element = useRef<HTMLDivElement>(null);
  const size = useSize(element);
  const [pinned, setPinned] = useState<string>();
  const [page, setPage] = useState(0);

  const stage = stageTile(tiles, pinned);
  const { width } = size;
  const arrange = (count: number, height: number): Arrangement =>
    stage ? arrangeStage(count, width, height, GAP) : arrangeGrid(count, width, height, GAP);
  // A grid that does not fit on one page gives up a row for the pager; a stage carries it in its corner.
  const full = arrange(tiles.length, size.height);
  const paged = full.rects.length < tiles.length;
  const height = paged && !stage ? Math.max(0, size.height - PAGER_HEIGHT) : size.height;
  const { perPage } = paged ? arrange(tiles.length, height) : full;
  const slots = Math.max(1, stage ? perPage - 1 : perPage);

  const ordered = useOrder(tiles, stage?.kind === 'camera' ? slots + 1 : slots);
  const others = ordered.filter((tile) => tile !== stage);
  const pages = perPage === 0 ? 1 : Math.max(1, Math.ceil(others.length / slots));
  const current = Math.min(page, pages - 1);
  const onPage = others.slice(current * slots, (current + 1) * slots);
  const shown = stage ? [stage, ...onPage] : onPage;
  const { rects } = arrange(shown.length, height);

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
            reduction={view.trackId ? reductions.get(view.trackId) : undefined}
            pinnable={tiles.length > 1}
            pinned={pinned === view.key}
            onPin={setPinned}
          />
        ))}
      {pages > 1 && (
        <Pager page={current} pages={pages} corner={stage && cornerOf(rects[0], size)} onPage={setPage} />
      )}
    </section>
  );
}

interface PagerProps {
  readonly page: number;
  readonly pages: number;
  /** Undefined: centred below the grid. */
  readonly corner: Corner | undefined;
  readonly onPage: (page: number) => void;
}

function Pager({ page, pages, corner, onPage }: PagerProps) {
  return (
    <div class={corner ? 'pager' : 'pager pager-below'} style={corner}>
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

type Corner = { right: string; bottom: string };

/** The lower right corner of the stage. */
function cornerOf(stage: Rect | undefined, size: { width: number; height: number }): Corner | undefined {
  if (!stage) return undefined;
  const right = size.width - stage.x - stage.width;
  const bottom = size.height - stage.y - stage.height;
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
