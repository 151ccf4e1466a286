// The order of tiles: stable, so that faces stay where they are, except that a speaker from a later page comes forward.

/**
 * The new order of `keys`, given the order of the last turn.
 * Those who stay keep their places, newcomers go to the end; a key of `speaking` beyond the first `shown` places
 * changes places with the shown key that spoke longest ago. The first `fixed` places are never given away.
 */
export function orderTiles(
  previous: readonly string[],
  keys: readonly string[],
  speaking: ReadonlySet<string>,
  spokeAt: ReadonlyMap<string, number>,
  shown: number,
  fixed: number,
): string[] {
  const present = new Set(keys);
  const known = new Set(previous);
  const order = [...previous.filter((key) => present.has(key)), ...keys.filter((key) => !known.has(key))];
  for (let place = Math.max(shown, fixed); place < order.length; place++) {
    const speaker = order[place];
    if (speaker === undefined || !speaking.has(speaker)) continue;
    const away = quietest(order, speaking, spokeAt, shown, fixed);
    if (away === undefined) break;
    order[place] = order[away] as string;
    order[away] = speaker;
  }
  return order;
}

function quietest(
  order: readonly string[],
  speaking: ReadonlySet<string>,
  spokeAt: ReadonlyMap<string, number>,
  shown: number,
  fixed: number,
): number | undefined {
  let found: number | undefined;
  let oldest = Number.POSITIVE_INFINITY;
  // From the end: among those who never spoke, the last one moves and the rest of the picture stays.
  for (let place = Math.min(shown, order.length) - 1; place >= fixed; place--) {
    const key = order[place] as string;
    const at = spokeAt.get(key) ?? 0;
    if (!speaking.has(key) && at < oldest) {
      oldest = at;
      found = place;
    }
  }
  return found;
}
