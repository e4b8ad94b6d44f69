// A fact has a name, and is not told where nothing is known.
import type { ComponentChildren } from "preact";

export const Fact = ({ name, children }: { name: string; children?: ComponentChildren }) =>
  children || children === 0 ? <div><dt>{name}</dt><dd>{children}</dd></div> : null;
