// The state that the pages share, kept current by the server's events.
//
// Each machine is a signal of its own: when one of two thousand changes, its
// slot alone is drawn anew. Counts and the list of machines that need somebody
// are kept while events are read, so no page ever walks through all machines.
import { batch, signal, type Signal } from "@preact/signals";
import { prefix, refused, type Condition, type Machine, type Network, type Stranger, type Swarm } from "./api";

export const conditions: Condition[] = ["failed", "stuck", "silent", "booting", "up", "unseen"];

const machines = new Map<string, Signal<Machine>>();

export const connected = signal(false);
export const begun = signal(false); // the first events are here
export const macs = signal<string[]>([]); // of all machines, in the order of their names
export const racks = signal<[string, string[]][]>([]); // MACs by rack
export const counts = signal<Partial<Record<Condition, number>>>({});
export const troubled = signal<string[]>([]); // MACs of those that need somebody
export const swarms = signal<Swarm[]>([]);
export const networks = signal<Network[]>([]);
export const strangers = signal<Stranger[]>([]);

export const machine = (mac: string) => machines.get(mac);

// byAddress finds machines by their addresses at this moment.
export const byAddress = () => new Map([...machines.values()].map(s => [s.peek().address, s.peek()]));

const byName = new Intl.Collator("en", { numeric: true });
export const nameOf = (m: Machine) => m.name || m.mac;

function take(list: Machine[], all: boolean) {
  if (all) machines.clear();
  let placed = all; // machines are new, or stand elsewhere now
  let moved = all; // between conditions, or into trouble or out of it
  for (const m of list) {
    const known = machines.get(m.mac);
    if (!known) {
      machines.set(m.mac, signal(m));
      placed = moved = true;
      continue;
    }
    const before = known.peek();
    placed ||= before.rack !== m.rack || before.name !== m.name;
    moved ||= before.condition !== m.condition || !before.why !== !m.why;
    known.value = m;
  }
  if (placed) place();
  if (moved) count();
}

function place() {
  const sorted = [...machines.values()].map(m => m.peek()).sort((a, b) => byName.compare(nameOf(a), nameOf(b)));
  const byRack = new Map<string, string[]>();
  for (const m of sorted) {
    const rack = m.rack ?? "";
    if (!byRack.has(rack)) byRack.set(rack, []);
    byRack.get(rack)!.push(m.mac);
  }
  macs.value = sorted.map(m => m.mac);
  racks.value = [...byRack].sort(([a], [b]) => Number(a === "") - Number(b === "") || byName.compare(a, b));
}

function count() {
  const n: Partial<Record<Condition, number>> = {};
  const list: Machine[] = [];
  for (const s of machines.values()) {
    const m = s.peek();
    n[m.condition] = (n[m.condition] ?? 0) + 1;
    if (m.why) list.push(m);
  }
  counts.value = n;
  troubled.value = list
    .sort((a, b) => conditions.indexOf(a.condition) - conditions.indexOf(b.condition) || byName.compare(nameOf(a), nameOf(b)))
    .map(m => m.mac);
}

// listen keeps all of the above current. The browser connects again by itself
// when the server was away; each connection begins with everything.
export function listen() {
  const source = new EventSource(prefix + "/events");
  let first = true;
  source.onopen = () => { first = true; connected.value = true; };
  source.onerror = () => {
    connected.value = false;
    if (source.readyState === EventSource.CLOSED) fetch(prefix + "/networks").then(refused, () => {}).finally(() => setTimeout(listen, 3000));
  };
  const on = <T>(name: string, take: (data: T) => void) =>
    source.addEventListener(name, e => batch(() => take(JSON.parse((e as MessageEvent<string>).data))));
  on<Machine[]>("machines", list => { take(list, first); first = false; begun.value = true; });
  on<Swarm[]>("swarms", list => { swarms.value = list; });
  on<{ networks: Network[]; strangers: Stranger[] }>("network", n => { networks.value = n.networks; strangers.value = n.strangers; });
}
