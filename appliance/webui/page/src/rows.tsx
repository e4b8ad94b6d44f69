// A table of any length: only the rows in the window exist.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const height = 32; // of a row, as in style.css

export function Rows<T>({ label, head, all, keyOf, row }: {
  label: string; head: string[]; all: T[]; keyOf: (item: T) => string; row: (item: T) => ComponentChildren;
}) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [[from, to], set] = useState([0, 60]);
  useEffect(() => {
    const look = () => {
      const top = body.current!.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(-top / height) - 20);
      // Steps of ten, so that not every pixel draws anew.
      const from = first - (first % 10);
      const to = from + Math.ceil(innerHeight / height / 10) * 10 + 50;
      set(before => (before[0] === from && before[1] === to ? before : [from, to]));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => { removeEventListener("scroll", look); removeEventListener("resize", look); };
  }, [all.length]);
  const space = (rows: number) => rows > 0 && <tr aria-hidden="true" class="space"><td colSpan={head.length} style={{ height: `${rows * height}px` }} /></tr>;
  return (
    <table class="rows" aria-label={label} aria-rowcount={all.length + 1}>
      <thead><tr>{head.map(h => <th key={h} scope="col">{h}</th>)}</tr></thead>
      <tbody ref={body}>
        {space(Math.min(from, all.length))}
        {all.slice(from, to).map((item, i) => <tr key={keyOf(item)} aria-rowindex={from + i + 2}>{row(item)}</tr>)}
        {space(all.length - to)}
      </tbody>
    </table>
  );
}
