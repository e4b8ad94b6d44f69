// What a machine tells of itself now and then: which pieces it has, with whom it
// exchanges them, and how its kernel's log ends.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Detail, Peer } from "./api";
import { colour, useDrawing } from "./drawing";
import { byAddress, nameOf } from "./live";
import { size } from "./words";

// PieceMap draws each piece as a square, in the order in which they stand in the
// image. Without have all are here.
export function PieceMap({ count, have, hot = "" }: { count: number; have: string | undefined; hot?: string }) {
  const box = useRef<HTMLCanvasElement>(null);
  const draw = () => {
    const canvas = box.current!, width = canvas.parentElement!.clientWidth;
    const cell = count > 20_000 ? 3 : count > 4000 ? 5 : 9, gap = cell > 3 ? 1 : 0;
    const columns = Math.floor(width / cell), scale = devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = Math.ceil(count / columns) * cell * scale;
    canvas.style.height = `${canvas.height / scale}px`;
    const [here, read, missing] = ["--accent", "--stuck", "--line"].map(name => colour(canvas, name)) as [string, string, string];
    const has = bits(have), wanted = bits(hot), to = canvas.getContext("2d")!;
    to.scale(scale, scale);
    for (let i = 0; i < count; i++) {
      to.fillStyle = wanted(i) ? read : has(i) ? here : missing;
      to.globalAlpha = wanted(i) && !has(i) ? .35 : 1;
      to.fillRect((i % columns) * cell, Math.floor(i / columns) * cell, cell - gap, cell - gap);
    }
  };
  useDrawing(box, draw, have, hot);
  return <div class="map"><canvas ref={box} aria-hidden="true" /></div>;
}

// bits reads a bit map in base64: whether the bit of a piece is set. All are where
// there is none.
function bits(map: string | undefined): (piece: number) => boolean {
  if (map === undefined) return () => true;
  const bytes = Uint8Array.from(atob(map), c => c.charCodeAt(0));
  return piece => ((bytes[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0;
}

// both counts the pieces that are in a bit map, and those that are in another too.
export function both(count: number, hot: string, have: string | undefined): { hot: number; here: number } {
  const wanted = bits(hot), has = bits(have);
  const all = Array.from({ length: count }, (_, i) => i).filter(wanted);
  return { hot: all.length, here: all.filter(has).length };
}

const first = 8; // peers shown at once, those that have given most

export function Peers({ peers }: { peers: Peer[] }) {
  const [open, setOpen] = useState(false);
  const known = byAddress();
  const sum = (of: (p: Peer) => number) => peers.reduce((n, p) => n + of(p), 0);
  return (
    <section class="card">
      <h2>Peers<small>{peers.length} connected, {size(sum(p => p.down))}/s from them, {size(sum(p => p.up))}/s to them</small></h2>
      <table>
        <thead><tr><th scope="col">Peer</th><th scope="col">Where</th><th scope="col" class="n">From it</th><th scope="col" class="n">Now</th><th scope="col" class="n">To it</th><th scope="col" class="n">Now</th></tr></thead>
        <tbody>
          {peers.slice(0, open ? peers.length : first).map(p => {
            const m = known.get(p.address);
            return (
              <tr key={p.address}>
                <td>{p.server ? "the boot server" : m ? <a href={`/machines/${m.mac}`}>{nameOf(m)}</a> : <code>{p.address}</code>}</td>
                <td>{p.server ? "" : p.far ? "another rack" : "same rack"}</td>
                <td class="n">{size(p.received)}</td><td class="n">{size(p.down)}/s</td><td class="n">{size(p.sent)}</td><td class="n">{size(p.up)}/s</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {peers.length > first && <button class="more" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? "Show fewer" : `Show ${peers.length - first} more`}</button>}
    </section>
  );
}

export function Console({ lines }: { lines: NonNullable<NonNullable<Detail["inside"]>["console"]> }) {
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => { box.current!.scrollTop = box.current!.scrollHeight; }, [lines.at(-1)]);
  return (
    <section class="card">
      <h2>Console<small>the end of its kernel's log</small></h2>
      <pre class="log" ref={box} role="region" tabIndex={0} aria-label="Console">{lines.join("\n")}</pre>
    </section>
  );
}
