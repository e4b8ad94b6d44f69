// The networks: addresses given out, and machines that nobody has listed.
import { useState } from "preact/hooks";
import { change, useAnswer, type Lease, type Stranger } from "./api";
import { Fact } from "./facts";
import { Field, Form } from "./form";
import { networks, racks, strangers } from "./live";
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
              <Fact name="This server"><code>{n.server}</code>{n.interface && <small> on {n.interface}</small>}</Fact>
              <Fact name="DHCP">{n.mode}</Fact>
              <Fact name="Unknown machines">{n.unknown}</Fact>
              <Fact name="Pool">{n.pool ? <>{n.pool_used} of {n.pool_size}<small> {n.pool}</small></> : "none"}</Fact>
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
  const [chosen, choose] = useState<Stranger>();
  const [done, say] = useState("");
  return (
    <>
      <p>They asked for a boot and are in no list. To adopt one writes it under <code>machines</code> in the settings file.</p>
      <p role="status">{done}</p>
      {chosen && <Adopt key={chosen.mac} stranger={chosen} quit={() => choose(undefined)} then={() => { say(`${chosen.mac} is in the settings file; the server takes it up within seconds.`); choose(undefined); }} />}
      <Rows label="Unknown machines" head={["MAC", "What it is", "Platform", "Heard", "First heard", "Packets", ""]} all={list} keyOf={s => s.mac}
        row={s => <><td><code>{s.mac}</code></td><td>{whatIs(s)}</td><td>{s.platform}</td><td class="n">{ago(s.last, now.value)} ago</td><td class="n">{moment(s.first)}</td><td class="n">{s.asked}</td>
          <td><button class="small" onClick={() => { say(""); choose(s); }} aria-label={`Adopt ${s.mac}`}>Adopt</button></td></>} />
    </>
  );
}

// whatIs is maker, product and serial number, as far as it has told them.
const whatIs = (s: Stranger) => [s.inventory?.vendor, s.inventory?.product, s.inventory?.serial].filter(Boolean).join(" ") || s.program;

function Adopt({ stranger, then, quit }: { stranger: Stranger; then: () => void; quit: () => void }) {
  return (
    <section class="card">
      <h2>Adopt <code>{stranger.mac}</code><small>{whatIs(stranger)}</small></h2>
      <Form label={`Adopt ${stranger.mac}`} button="Adopt" then={then} quit={quit} send={values => change("POST", "/machines", { ...values, mac: stranger.mac })}>
        <Field name="name" label="Name" placeholder="r1-n09" required />
        <Field name="rack" label="Rack" list="racks" />
        <Field name="group" label="Group" />
        <Field name="image" label="Image" placeholder="its rack's or group's" />
        <datalist id="racks">{racks.value.map(([name]) => name && <option key={name} value={name} />)}</datalist>
      </Form>
    </section>
  );
}
