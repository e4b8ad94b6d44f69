// The racks as they stand in the room: slot 1 at the bottom.
import { useEffect, useRef, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { begun, machine, macs, nameOf, racks } from "./live";
import { Filter, filtering, matches } from "./filter";
import { arrived, percent, sign } from "./words";
import { Trouble } from "./trouble";

// The one slot that Tab reaches; arrow keys move it.
const cursor = signal("");

export function Racks() {
  const list = racks.value;
  return (
    <>
      <h1>Racks</h1>
      <Filter />
      <Trouble />
      {begun.value && list.length === 0 && <p class="empty">No machine is in the config yet. <code>swarmboot serve --help</code> tells how to list them; those that ask for a boot stand under <a href="/networks">Networks</a>.</p>}
      <div class="racks" onKeyDown={move}>
        {list.map(([name, slots]) => <Rack key={name} name={name} slots={slots} />)}
      </div>
    </>
  );
}

// Rack draws its slots only while it is near the window: a hall has thousands.
function Rack({ name, slots }: { name: string; slots: string[] }) {
  const box = useRef<HTMLElement>(null);
  const [near, setNear] = useState(false);
  useEffect(() => {
    const watcher = new IntersectionObserver(seen => setNear(seen.at(-1)!.isIntersecting), { rootMargin: "400px" });
    watcher.observe(box.current!);
    return () => watcher.disconnect();
  }, []);
  return (
    <section class="rack" ref={box} aria-label={name ? `Rack ${name}` : "Machines without a rack"}>
      <h2>{name || "no rack"}<small>{slots.length}</small></h2>
      <ol style={{ height: `${slots.length * 26}px` }}>
        {near && slots.map((mac, i) => <Slot key={mac} mac={mac} unit={i + 1} />)}
      </ol>
    </section>
  );
}

function Slot({ mac, unit }: { mac: string; unit: number }) {
  const m = machine(mac)?.value;
  if (!m) return null;
  const going = m.condition === "booting" || m.condition === "stuck";
  const part = arrived(m);
  const reachable = (cursor.value || macs.value[0]) === mac;
  const dim = filtering.value && !matches(m);
  return (
    <li class={`slot ${m.condition}${dim ? " dim" : ""}`}>
      <a href={`/machines/${mac}`} data-mac={mac} tabIndex={reachable ? 0 : -1} onFocus={() => { cursor.value = mac; }}
        title={m.why}>
        {part < 1 && <i class="fill" style={{ transform: `scaleX(${part})` }} />}
        <span class="unit">{unit}</span>
        <span class="sign" aria-hidden="true">{sign[m.condition]}</span>
        <span class="name">{nameOf(m)}</span>
        <span class="sr">{m.condition}</span>
        <span class="stage">{going && part > 0 && part < 1 ? percent(part) : m.stage === "failed" ? m.at : m.stage}</span>
      </a>
    </li>
  );
}

// move takes the cursor up and down in a rack, and to the same height in the
// next one.
function move(e: KeyboardEvent) {
  const step = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[e.key];
  const mac = (e.target as HTMLElement).dataset["mac"];
  if (!step || !mac) return;
  const rack = racks.value.findIndex(([, slots]) => slots.includes(mac));
  const slot = racks.value[rack]![1].indexOf(mac);
  const slots = racks.value[rack + step[0]!]?.[1];
  const next = slots?.[Math.min(slot + step[1]!, slots.length - 1)];
  e.preventDefault();
  if (!next) return;
  cursor.value = next;
  const find = () => document.querySelector<HTMLElement>(`[data-mac="${next}"]`);
  if (find()) return find()!.focus();
  // Its rack is not drawn yet: bring it near first.
  document.querySelectorAll(".rack")[rack + step[0]!]?.scrollIntoView({ block: "nearest" });
  setTimeout(() => find()?.focus(), 100);
}
