// The address bar as state: links change it without loading anything.
import { signal } from "@preact/signals";

export const path = signal(location.pathname);

const arrive = () => { path.value = location.pathname; };

addEventListener("popstate", arrive); // the browser scrolls to where one was
addEventListener("click", event => {
  const link = (event.target as Element).closest("a");
  if (!link || link.origin !== location.origin || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.defaultPrevented) return;
  event.preventDefault();
  history.pushState(null, "", link.pathname);
  arrive();
  scrollTo(0, 0);
});
