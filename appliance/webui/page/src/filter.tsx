// One filter for racks and list: words, and conditions to show.
import { computed, signal } from "@preact/signals";
import type { Condition, Machine } from "./api";
import { conditions, counts } from "./live";
import { meaning, sign } from "./words";

const text = signal("");
const wanted = signal<Condition[]>([]);
export const filtering = computed(() => text.value.trim() !== "" || wanted.value.length > 0);

// matches tells whether m is wanted: each word in its name, rack, group, image,
// addresses or stage.
export function matches(m: Machine): boolean {
  if (wanted.value.length > 0 && !wanted.value.includes(m.condition)) return false;
  const words = text.value.trim().toLowerCase().split(/\s+/);
  const all = [m.name, m.rack, m.group, m.image, m.mac, m.address, m.stage].join(" ").toLowerCase();
  return words.every(word => all.includes(word));
}

const toggle = (c: Condition) => {
  wanted.value = wanted.value.includes(c) ? wanted.value.filter(x => x !== c) : [...wanted.value, c];
};

export function Filter() {
  return (
    <div class="filter" role="search">
      <input type="search" aria-label="Filter machines" placeholder="Filter: name, rack, image, address, stage" value={text.value} onInput={e => { text.value = e.currentTarget.value; }} />
      <div class="chips" role="group" aria-label="Conditions">
        {conditions.map(c => {
          const n = counts.value[c] ?? 0;
          return (
            <button key={c} class={`chip ${c}`} aria-pressed={wanted.value.includes(c)} disabled={n === 0 && !wanted.value.includes(c)} title={meaning[c]} onClick={() => toggle(c)}>
              <span class="sign" aria-hidden="true">{sign[c]}</span>{n} {c}
            </button>
          );
        })}
      </div>
    </div>
  );
}
