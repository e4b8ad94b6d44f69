// The address bar as state: links change it without loading anything.
import { signal } from "@preact/signals";

export const path = signal(location.pathname);

export function go(to: string) {
  history.pushState(null, "", to);
  arrive();
}

function arrive() {
  path.value = location.pathname;
  scrollTo(0, 0);
}

addEventListener("popstate", arrive);
addEventListener("click", event => {
  const link = (event.target as Element).closest("a");
  if (!link || link.origin !== location.origin || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.defaultPrevented) return;
  event.preventDefault();
  go(link.pathname);
});
