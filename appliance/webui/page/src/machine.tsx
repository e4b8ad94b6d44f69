// One machine: how it fares, its boot beside the median, and what it has.
import { useComputed } from "@preact/signals";
import { useState } from "preact/hooks";
import type { Detail, LogLine, Machine, Timeline } from "./api";
import { useAnswer } from "./api";
import { Fact } from "./facts";
import { both, Console, PieceMap, Peers } from "./inside";
import { NextBoot, Switch } from "./next";
import { machine, nameOf } from "./live";
import { Advice } from "./trouble";
import { Waterfall } from "./waterfall";
import { ago, clock, duration, moment, now, percent, sign, size, stageOf } from "./words";

export function MachinePage({ mac }: { mac: string }) {
  // Asked anew when a stage is reached, and as often as the machine tells more.
  const stamp = useComputed(() => { const m = machine(mac)?.value; return m ? `${m.boots} ${m.stage} ${m.since}` : ""; });
  const [changes, setChanges] = useState(0);
  const beat = useComputed(() => Math.floor(now.value / (machine(mac)?.value.stage === "seeding" ? 30_000 : 5000)));
  const { answer: d, error } = useAnswer<Detail>(`/machines/${mac}`, `${stamp.value} ${changes} ${beat.value}`);
  const m = machine(mac)?.value ?? d;
  if (!m) return <><h1>{mac}</h1><p class="empty">{error}</p></>;
  const until = m.condition === "failed" ? Date.parse(m.since ?? "") : m.condition === "booting" || m.condition === "stuck" ? now.value : 0;
  return (
    <>
      <p class="crumb"><a href="/">Racks</a>{m.rack && <> / {m.rack}</>}</p>
      <h1><span class={`sign ${m.condition}`} aria-hidden="true">{sign[m.condition]}</span>{nameOf(m)}</h1>
      <dl class="facts">
        <Fact name="Condition">{m.condition}</Fact>
        <Fact name="Stage">{stageOf(m) || "none yet"}{m.since && <small> for {ago(m.since, now.value)}</small>}</Fact>
        <Fact name="Image">{m.image}</Fact>
        <Fact name="MAC"><code>{m.mac}</code></Fact>
        <Fact name="Address">{m.address && <code>{m.address}</code>}</Fact>
        <Fact name="Group">{m.group}</Fact>
        <Fact name="Heard">{m.heard && <>{ago(m.heard, now.value)} ago</>}</Fact>
        <Fact name="Boots seen">{m.boots}</Fact>
      </dl>
      {m.why && <section class={`advice line ${m.condition}`} aria-label="What is wrong"><span class="sign" aria-hidden="true">{sign[m.condition]}</span><div><Advice m={m} /></div></section>}
      <section class="card">
        <h2>This boot{d?.boot && <small>began {moment(d.boot.began)}</small>}</h2>
        {d?.boot ? <Waterfall boot={d.boot} typical={d.typical} sample={d.sample} until={until} /> : <p class="empty">No boot was seen yet.</p>}
      </section>
      <Arrival m={m} d={d} />
      {d?.inside?.console && <Console lines={d.inside.console} />}
      <Log mac={mac} stamp={stamp.value} />
      <div class="cards">
        {d && <NextBoot d={d} changed={() => setChanges(n => n + 1)} />}
        <Switch mac={mac} />
      </div>
      {d?.inside?.peers && <Peers peers={d.inside.peers} />}
      {d && d.past.length > 0 && <Past boots={d.past} />}
    </>
  );
}

// Arrival shows which part of the image is here, and who gave it.
function Arrival({ m, d }: { m: Machine; d: Detail | undefined }) {
  const p = m.progress;
  if (!p || p.pieces === 0) return null;
  const got = p.from_peers + p.from_server;
  // It tells less often which pieces it has than how many.
  const whole = p.have === p.pieces, have = whole ? undefined : d?.inside?.have, known = whole || have;
  // What boots read is known once one was recorded. A machine that began before has
  // been told less of it.
  const { hot, here } = !d?.hot ? { hot: 0, here: 0 } : known ? both(p.pieces, d.hot, have) : { hot: p.hot, here: p.hot_have };
  const cold = p.pieces - hot, rest = Math.min(cold, Math.max(0, p.have - here));
  return (
    <section class="card">
      <h2>The image on it<small>{p.have} of {p.pieces} pieces</small></h2>
      <div class="pieces" role="img" aria-label={`${percent(p.have / p.pieces)} of the image is here${hot ? `, ${percent(here / hot)} of what a boot reads` : ""}`}>
        <i class="hot" style={{ flexGrow: here }} /><i class="hot missing" style={{ flexGrow: hot - here }} />
        <i class="cold" style={{ flexGrow: rest }} /><i class="missing" style={{ flexGrow: cold - rest }} />
      </div>
      <p class="legend"><span class="hot">what a boot reads: {hot ? `${here} of ${hot}` : "no boot of it was recorded yet"}</span><span class="cold">the rest: {rest} of {cold}</span></p>
      {known && <PieceMap count={p.pieces} have={have} hot={d?.hot} />}
      <dl class="facts">
        <Fact name="From other machines">{size(p.from_peers)}{got > 0 && <small> {percent(p.from_peers / got)}</small>}</Fact>
        <Fact name="From other racks">{p.from_far > 0 && size(p.from_far)}</Fact>
        <Fact name="From the server">{size(p.from_server)}</Fact>
        <Fact name="Given to others">{size(p.uploaded)}</Fact>
        <Fact name="Connections">{p.peers}</Fact>
        <Fact name="Reads that wait">{p.waiting}</Fact>
        <Fact name="Bad pieces refused">{p.rejected}</Fact>
        <Fact name="Restarts of the engine">{p.restarts}</Fact>
      </dl>
    </section>
  );
}

// Log is what the server's log says of the machine, the last line first.
function Log({ mac, stamp }: { mac: string; stamp: string }) {
  const { answer: lines } = useAnswer<LogLine[]>(`/machines/${mac}/log`, stamp);
  if (!lines || lines.length === 0) return null;
  return (
    <section class="card">
      <h2>What the server's log says<small>the last {lines.length} lines</small></h2>
      <ol class="log" tabIndex={0} aria-label="Log">
        {lines.slice().reverse().map(l => <li key={l.number} class={l.level.toLowerCase()}><time dateTime={l.time}>{clock(l.time)}</time> {l.level !== "INFO" && <b>{l.level.toLowerCase()}</b>} {l.text}</li>)}
      </ol>
    </section>
  );
}

function Past({ boots }: { boots: Timeline[] }) {
  return (
    <section class="card">
      <h2>Boots before</h2>
      <table>
        <thead><tr><th scope="col">Began</th><th scope="col">Image</th><th scope="col">Login after</th><th scope="col">Complete after</th><th scope="col">How it ended</th></tr></thead>
        <tbody>
          {boots.map(b => (
            <tr key={b.began}>
              <td>{moment(b.began)}</td><td>{b.image}</td>
              <td class="n">{after(b, "ready")}</td><td class="n">{after(b, "complete")}</td>
              <td>{b.failed ? `failed at ${b.failed}: ${b.reason}` : after(b, "ready") ? "up" : "did not reach its login"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const after = (b: Timeline, stage: string) => (b.stages[stage] === undefined ? "" : duration(b.stages[stage]));
