// What is drawn on a canvas knows no style sheet: it is told colours, and drawn
// anew when they change, or its width.
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

// colour is what a variable of the style sheet stands for at the moment.
export function colour(box: HTMLElement, name: string): string {
  box.style.color = `var(${name})`; // the browser works each out as a text colour
  return getComputedStyle(box).color;
}

// useDrawing draws when box is there, and when its width, the colours or data change.
export function useDrawing(box: RefObject<HTMLElement | null>, draw: () => void, ...data: unknown[]) {
  const latest = useRef(draw);
  latest.current = draw;
  const again = () => { if (box.current?.clientWidth) latest.current(); }; // it may be gone already, or hidden
  useEffect(again, data);
  useEffect(() => {
    const width = new ResizeObserver(again);
    width.observe(box.current!);
    const theme = new MutationObserver(again);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", again);
    return () => { width.disconnect(); theme.disconnect(); system.removeEventListener("change", again); };
  }, []);
}
