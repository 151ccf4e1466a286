// Where tiles go: pure arithmetic from the size of the room's surface to rectangles in CSS pixels.

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Arrangement {
  /** One rectangle per shown tile, in order. In a stage arrangement the first one is the stage. */
  readonly rects: readonly Rect[];
  /** Tiles on one page; the rest is on further pages. */
  readonly perPage: number;
}

/** Tiles shown at once, at most: a 5 x 5 grid. */
export const GRID_TILES_MAX = 25;
/** Below this width a face is a stamp: better to page. */
const TILE_WIDTH_MIN = 132;
/** Tiles follow their cell between these shapes (width / height), so that little of the surface stays empty. */
const ASPECT_MAX = 16 / 9;
const ASPECT_MIN_LANDSCAPE = 4 / 3;
/** On an upright phone a portrait tile shows more of a face than a narrow band would. */
const ASPECT_MIN_PORTRAIT = 0.8;
/** Strip beside a stage. */
const STRIP_WIDTH = 212;
const STRIP_HEIGHT = 108;
/** From this width on the strip stands at the side, below it lies under the stage. */
const SIDE_STRIP_FROM = 760;

/** Largest equal tiles for `count` participants, last row centred. */
export function arrangeGrid(count: number, width: number, height: number, gap: number): Arrangement {
  if (count <= 0 || width <= 0 || height <= 0) return { rects: [], perPage: 0 };
  const perPage = gridCapacity(width, height, gap);
  const shown = Math.min(count, perPage);
  const { columns, tile } = bestGrid(shown, width, height, gap);
  const rows = Math.ceil(shown / columns);
  const top = (height - (rows * tile.height + (rows - 1) * gap)) / 2;
  const rects: Rect[] = [];
  for (let row = 0; row < rows; row++) {
    const inRow = Math.min(columns, shown - row * columns);
    const left = (width - (inRow * tile.width + (inRow - 1) * gap)) / 2;
    for (let column = 0; column < inRow; column++) {
      rects.push(
        whole({
          x: left + column * (tile.width + gap),
          y: top + row * (tile.height + gap),
          width: tile.width,
          height: tile.height,
        }),
      );
    }
  }
  return { rects, perPage };
}

/** One large tile and the others in a strip: at the side when there is room, else below. `count` includes the stage. */
export function arrangeStage(count: number, width: number, height: number, gap: number): Arrangement {
  if (count <= 0 || width <= 0 || height <= 0) return { rects: [], perPage: 0 };
  const others = count - 1;
  if (others === 0) return { rects: [whole({ x: 0, y: 0, width, height })], perPage: 1 };
  return width >= SIDE_STRIP_FROM ? sideStrip(others, width, height, gap) : strip(others, width, height, gap);
}

function sideStrip(others: number, width: number, height: number, gap: number): Arrangement {
  const tileWidth = Math.min(STRIP_WIDTH, width * 0.24);
  const tileHeight = tileWidth / ASPECT_MAX;
  const capacity = Math.max(1, Math.floor((height + gap) / (tileHeight + gap)));
  const shown = Math.min(others, capacity);
  const top = (height - (shown * tileHeight + (shown - 1) * gap)) / 2;
  const rects = [whole({ x: 0, y: 0, width: width - tileWidth - gap, height })];
  for (let index = 0; index < shown; index++) {
    rects.push(
      whole({
        x: width - tileWidth,
        y: top + index * (tileHeight + gap),
        width: tileWidth,
        height: tileHeight,
      }),
    );
  }
  return { rects, perPage: capacity + 1 };
}

function strip(others: number, width: number, height: number, gap: number): Arrangement {
  const tileHeight = Math.min(STRIP_HEIGHT, height * 0.28);
  const tileWidth = tileHeight * 1.25;
  const capacity = Math.max(1, Math.floor((width + gap) / (tileWidth + gap)));
  const shown = Math.min(others, capacity);
  const left = (width - (shown * tileWidth + (shown - 1) * gap)) / 2;
  const rects = [whole({ x: 0, y: 0, width, height: height - tileHeight - gap })];
  for (let index = 0; index < shown; index++) {
    rects.push(
      whole({
        x: left + index * (tileWidth + gap),
        y: height - tileHeight,
        width: tileWidth,
        height: tileHeight,
      }),
    );
  }
  return { rects, perPage: capacity + 1 };
}

/** How many tiles of the least width the surface takes, 25 at most. */
function gridCapacity(width: number, height: number, gap: number): number {
  const columns = Math.max(1, Math.floor((width + gap) / (TILE_WIDTH_MIN + gap)));
  const rows = Math.max(1, Math.floor((height + gap) / (TILE_WIDTH_MIN / ASPECT_MAX + gap)));
  return Math.min(GRID_TILES_MAX, columns * rows);
}

function bestGrid(
  count: number,
  width: number,
  height: number,
  gap: number,
): { columns: number; tile: { width: number; height: number } } {
  const aspectMin = width >= height ? ASPECT_MIN_LANDSCAPE : ASPECT_MIN_PORTRAIT;
  let best = { columns: 1, tile: { width: 0, height: 0 } };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cell = {
      width: (width - (columns - 1) * gap) / columns,
      height: (height - (rows - 1) * gap) / rows,
    };
    if (cell.width <= 0 || cell.height <= 0) continue;
    const tile = shapeFor(cell.width, cell.height, aspectMin);
    // A hair of tolerance, so that among equals the fewest columns win.
    if (tile.width * tile.height > best.tile.width * best.tile.height * 1.001) best = { columns, tile };
  }
  return best;
}

/** The largest shape between the two aspects that fits a cell. */
function shapeFor(width: number, height: number, aspectMin: number): { width: number; height: number } {
  const aspect = width / height;
  if (aspect > ASPECT_MAX) return { width: height * ASPECT_MAX, height };
  if (aspect < aspectMin) return { width, height: width / aspectMin };
  return { width, height };
}

/** Whole pixels: fractional edges blur video. */
function whole(rect: Rect): Rect {
  return {
    x: Math.round(rect.x),
    y: Math.round(rect.y),
    width: Math.floor(rect.width),
    height: Math.floor(rect.height),
  };
}
