// All machines in one list.
import { computed } from "@preact/signals";
import type { Condition } from "./api";
import { machine, macs, nameOf } from "./live";
import { Filter, filtering, matches } from "./filter";
import { Rows } from "./rows";
import { ago, arrived, now, percent, sign, size, stageOf } from "./words";

// Reading each machine's signal makes the list follow machines that move into
// or out of the filter; without a filter only the rows in the window do.
const shown = computed(() => (filtering.value ? macs.value.filter(mac => matches(machine(mac)!.value)) : macs.value));

export function Machines() {
  return (
    <>
      <h1>Machines</h1>
      <Filter />
      <p class="count" role="status">{filtering.value ? `${shown.value.length} of ${macs.value.length}` : `${macs.value.length} machines`}</p>
      <Rows label="Machines" head={["Name", "Rack", "Image", "Stage", "Since", "Here", "From peers", "From server", "Address"]}
        all={shown.value} keyOf={mac => mac} row={mac => <Cells mac={mac} />} />
    </>
  );
}

export const Sign = ({ c }: { c: Condition }) => <span class={`sign ${c}`} title={c}>{sign[c]}</span>;

function Cells({ mac }: { mac: string }) {
  const m = machine(mac)?.value;
  if (!m) return null;
  const p = m.progress;
  return (
    <>
      <td><Sign c={m.condition} /><a href={`/machines/${mac}`}>{nameOf(m)}</a></td>
      <td>{m.rack}</td>
      <td>{m.image}</td>
      <td title={m.why}>{stageOf(m)}</td>
      <td class="n">{ago(m.since, now.value)}</td>
      <td class="n">{p && percent(arrived(m))}</td>
      <td class="n">{p && size(p.from_peers)}</td>
      <td class="n">{p && size(p.from_server)}</td>
      <td class="n">{m.address}</td>
    </>
  );
}
