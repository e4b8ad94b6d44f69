// What needs somebody: which machine, why, and what to do.
import { useState } from "preact/hooks";
import type { Machine } from "./api";
import { begun, machine, macs as all, nameOf } from "./live";
import { ago, now, sign } from "./words";

const first = 3; // shown at once; a rack without power is forty

export function Trouble({ macs }: { macs: string[] }) {
  const [open, setOpen] = useState(false);
  if (!begun.value || all.value.length === 0) return null;
  if (macs.length === 0) return <p class="calm-note"><span class="sign" aria-hidden="true">✓</span> Nothing needs you.</p>;
  const shown = open ? macs.slice(0, 200) : macs.slice(0, first);
  return (
    <section class="trouble" aria-label="Machines that need somebody">
      <h2>{macs.length === 1 ? "One machine needs" : `${macs.length} machines need`} somebody</h2>
      <ul>{shown.map(mac => <li key={mac}><Line mac={mac} /></li>)}</ul>
      {macs.length > first && <button class="more" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? "Show fewer" : `Show ${Math.min(macs.length, 200) - first} more`}</button>}
    </section>
  );
}

function Line({ mac }: { mac: string }) {
  const m = machine(mac)?.value;
  if (!m) return null;
  return (
    <div class={`line ${m.condition}`}>
      <span class="sign" aria-hidden="true">{sign[m.condition]}</span>
      <div>
        <p><a href={`/machines/${mac}`}>{nameOf(m)}</a>{m.rack && <span class="where">rack {m.rack}</span>}<span class="tag">{m.condition}</span><span class="where">for {ago(m.since, now.value)}</span></p>
        <Advice m={m} />
      </div>
    </div>
  );
}

export function Advice({ m }: { m: Machine }) {
  return (
    <>
      <p class="why">{sentence(m.why)}</p>
      <p class="remedy">{m.remedy}</p>
    </>
  );
}

const sentence = (s = "") => (s ? s[0]!.toUpperCase() + s.slice(1) + (s.endsWith(".") ? "" : ".") : "");
