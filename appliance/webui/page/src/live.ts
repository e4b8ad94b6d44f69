// The state that the pages share, kept current by the server's events.
//
// Each machine is a signal of its own: when one of two thousand changes, its
// slot alone is drawn anew. Counts and the machines that need somebody are kept
// while events are read, so no page ever walks through all machines.
import { batch, computed, effect, signal, type Signal } from "@preact/signals";
import { prefix, refused, session, stranger, type Condition, type Machine, type Network, type Settings, type Stranger, type Swarm } from "./api";

export const conditions: Condition[] = ["failed", "stuck", "silent", "booting", "up", "unseen"];

const machines = new Map<string, Signal<Machine>>();

export const connected = signal(false);
export const begun = signal(false); // the first events are here
export const lastHeard = signal(0); // when the server was heard before the connection was lost
export const macs = signal<string[]>([]); // of all machines, in the order of their names
export const racks = signal<[string, string[]][]>([]); // MACs by rack
export const counts = signal<Partial<Record<Condition, number>>>({});
export const troubles = signal<string[][]>([]); // MACs of those that need somebody, by what for
export const troubled = computed(() => troubles.value.flat().length);
export const swarms = signal<Swarm[]>([]);
export const networks = signal<Network[]>([]);
export const strangers = signal<Stranger[]>([]);
export const settings = signal<Settings | undefined>(undefined);

// machine finds a machine. Who asks while it draws is drawn anew when machines come
// or go: the signal of one is another then.
export function machine(mac: string) {
  macs.value;
  return machines.get(mac);
}

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
    moved ||= before.condition !== m.condition || trouble(before) !== trouble(m);
    known.value = m;
  }
  if (placed) place();
  if (moved) count();
}

function remove(list: string[]) {
  for (const mac of list) machines.delete(mac);
  place();
  count();
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

// trouble is the same for machines that need the same: a rack without power is one
// trouble, not forty. A failed one says itself what it is; of the others each says
// how long and how often, but what to do is the same.
const trouble = (m: Machine) => m.why && `${m.condition} ${m.condition === "failed" ? m.why : m.remedy}`;

function count() {
  const n: Partial<Record<Condition, number>> = {};
  const same = new Map<string, Machine[]>();
  for (const s of machines.values()) {
    const m = s.peek();
    n[m.condition] = (n[m.condition] ?? 0) + 1;
    const needs = trouble(m);
    if (!needs) continue;
    if (!same.has(needs)) same.set(needs, []);
    same.get(needs)!.push(m);
  }
  counts.value = n;
  for (const list of same.values()) list.sort((a, b) => byName.compare(nameOf(a), nameOf(b)));
  troubles.value = [...same.values()]
    .sort(([a, ...as], [b, ...bs]) => conditions.indexOf(a!.condition) - conditions.indexOf(b!.condition) || bs.length - as.length || byName.compare(nameOf(a!), nameOf(b!)))
    .map(list => list.map(m => m.mac));
}

const silence = 45_000; // ms; the server says something every 15 seconds

// listen keeps all of the above current. Each connection begins with everything, so
// one that is lost, or silent because the server lost its power, is simply made
// anew, ever more seldom while the server is away. A page that nobody sees has
// none: a browser makes few to one server, and would run out of them.
export function listen() {
  let source: EventSource | undefined;
  let asking: AbortController | undefined; // a silent server would keep the connection
  let timer = 0; // until the server is thought lost, or asked again
  let failures = 0;
  let last = 0;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    asking?.abort();
  };
  const expect = () => {
    clearTimeout(timer);
    timer = setTimeout(lost, silence);
  };
  const lost = () => {
    close();
    connected.value = false;
    lastHeard.value = last;
    timer = setTimeout(open, Math.min(30_000, 1000 * 2 ** failures++) * (.5 + Math.random()));
    asking = new AbortController();
    fetch(prefix + "/networks", { signal: asking.signal }).then(refused, () => {}); // a source does not say why it was refused
  };
  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(prefix + "/events");
    let first = true;
    const on = <T>(name: string, take: (data: T) => void) =>
      source!.addEventListener(name, (e: MessageEvent<string>) => {
        last = Date.now();
        expect();
        batch(() => take(JSON.parse(e.data)));
      });
    on<Machine[]>("machines", list => { take(list, first); first = false; begun.value = true; });
    on<string[]>("removed", remove);
    on<Settings>("settings", s => { settings.value = s; });
    on<Swarm[]>("swarms", list => { swarms.value = list; });
    on<{ networks: Network[]; strangers: Stranger[] }>("network", n => { networks.value = n.networks; strangers.value = n.strangers; });
    source.onopen = () => {
      if (!connected.value) stranger.value = false; // it has let us in
      connected.value = true;
      failures = 0;
    };
    source.onerror = lost;
    expect();
  };
  document.addEventListener("visibilitychange", open);
  effect(() => { session.value; open(); });
}
