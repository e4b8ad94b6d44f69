// The networks: addresses given out, and machines that nobody has listed.
import { useAnswer, type Lease, type Stranger } from "./api";
import { networks, strangers } from "./live";
import { Rows } from "./rows";
import { ago, moment, now } from "./words";

export function Networks() {
  const { answer: leases } = useAnswer<Lease[]>("/leases", networks.value);
  return (
    <>
      <h1>Networks</h1>
      <div class="cards">
        {networks.value.map(n => (
          <section class="card" key={n.name || n.subnet}>
            <h2>{n.name || n.subnet}<small>{n.name && n.subnet}</small></h2>
            <dl class="facts">
              <div><dt>This server</dt><dd><code>{n.server}</code>{n.interface && <small> on {n.interface}</small>}</dd></div>
              <div><dt>DHCP</dt><dd>{n.mode}</dd></div>
              <div><dt>Unknown machines</dt><dd>{n.unknown}</dd></div>
              <div><dt>Pool</dt><dd>{n.pool ? <>{n.pool_used} of {n.pool_size}<small> {n.pool}</small></> : "none"}</dd></div>
            </dl>
            {n.pool_size > 0 && <div class={n.pool_used >= n.pool_size * 0.9 ? "pieces full" : "pieces"} role="img" aria-label={`${n.pool_used} of ${n.pool_size} addresses are given out`}><i class="cold" style={{ flexGrow: n.pool_used }} /><i class="missing" style={{ flexGrow: Math.max(0, n.pool_size - n.pool_used) }} /></div>}
          </section>
        ))}
      </div>
      <section>
        <h2>Unknown machines<small>{strangers.value.length}</small></h2>
        {strangers.value.length === 0 ? <p class="empty">None has asked for a boot.</p> : <Strangers list={strangers.value} />}
      </section>
      <section>
        <h2>Leases<small>{leases?.length ?? ""}</small></h2>
        {leases && leases.length > 0 && <Rows label="Leases" head={["Address", "Machine", "MAC", "Until"]} all={leases} keyOf={l => l.address + l.mac}
          row={l => <><td class="n">{l.address}</td><td><a href={`/machines/${l.mac}`}>{l.name || "no name"}</a></td><td><code>{l.mac}</code></td><td class="n">{moment(l.expires)}</td></>} />}
      </section>
    </>
  );
}

function Strangers({ list }: { list: Stranger[] }) {
  return (
    <>
      <p>They asked for a boot and are in no list. To take one in, add its MAC address under <code>machines</code> in the settings file.</p>
      <Rows label="Unknown machines" head={["MAC", "Asks with", "Platform", "Heard", "First heard", "Packets"]} all={list} keyOf={s => s.mac}
        row={s => <><td><code>{s.mac}</code></td><td>{s.program}</td><td>{s.platform}</td><td class="n">{ago(s.last, now.value)} ago</td><td class="n">{moment(s.first)}</td><td class="n">{s.asked}</td></>} />
    </>
  );
}
