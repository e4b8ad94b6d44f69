// What needs somebody: the settings file, and which machines, why, and what to do.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Condition, Machine, Settings } from "./api";
import { begun, machine, macs as all, nameOf, settings, troubled, troubles } from "./live";
import { ago, moment, now, sign } from "./words";

const first = 3; // troubles shown at once
const most = 40; // machines named in one

export function Trouble() {
  const s = settings.value, ill = s?.problem || s?.restart;
  return (
    <>
      {ill && <SettingsTrouble s={s} />}
      <MachinesTrouble calm={!ill} />
    </>
  );
}

// SettingsTrouble tells what of the settings file is not in force.
function SettingsTrouble({ s }: { s: Settings }) {
  return (
    <section class="trouble" aria-label="The settings file needs somebody">
      <h2>The settings file needs somebody</h2>
      {s.problem && <NotInForce condition="failed" what={s.problem.split("\n")}>{s.file} was refused {ago(s.refused, now.value)} ago. The settings of {moment(s.loaded)} stay in force.</NotInForce>}
      {s.restart && <NotInForce condition="stuck" what={s.restart}>Of {s.file} this takes effect after a restart of the server. Running machines do not notice one.</NotInForce>}
    </section>
  );
}

function NotInForce({ condition, what, children }: { condition: Condition; what: string[]; children: ComponentChildren }) {
  return (
    <div class={`line ${condition}`}>
      <span class="sign" aria-hidden="true">{sign[condition]}</span>
      <div>
        <p>{children}</p>
        {what.map(line => <p key={line}><code>{line}</code></p>)}
      </div>
    </div>
  );
}

function MachinesTrouble({ calm }: { calm: boolean }) {
  const [open, setOpen] = useState(false);
  if (!begun.value || all.value.length === 0) return null;
  const list = troubles.value, machines = troubled.value;
  if (machines === 0) return calm && <p class="calm-note"><span class="sign" aria-hidden="true">✓</span> Nothing needs you.</p>;
  return (
    <section class="trouble" aria-label="Machines that need somebody">
      <h2>{machines === 1 ? "One machine needs" : `${machines} machines need`} somebody</h2>
      <ul>{list.slice(0, open ? list.length : first).map(macs => <li key={macs[0]}><Line macs={macs} /></li>)}</ul>
      {list.length > first && <button class="more" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? "Show fewer" : `Show ${list.length - first} more`}</button>}
    </section>
  );
}

// Line tells of machines with the same trouble. Where their words differ, as in
// when each was last heard, it has those of the first, and says so.
function Line({ macs }: { macs: string[] }) {
  const m = machine(macs[0]!)?.value;
  if (!m) return null;
  const alike = macs.flatMap(mac => machine(mac)?.peek() ?? []), racks = [...new Set(alike.map(m => m.rack).filter(Boolean))];
  const longest = alike.map(m => m.since).filter(Boolean).sort()[0];
  return (
    <div class={`line ${m.condition}`}>
      <span class="sign" aria-hidden="true">{sign[m.condition]}</span>
      <div>
        <p>
          {alike.length === 1 ? <Name m={m} /> : <b>{alike.length} machines</b>}
          {racks.length > 0 && <span class="where">{racks.length === 1 ? "rack" : "racks"} {racks.slice(0, 4).join(", ")}{racks.length > 4 && `, ${racks.length - 4} more`}</span>}
          <span class="tag">{m.condition}</span>
          <span class="where">for {alike.length > 1 && "up to "}{ago(longest, now.value)}</span>
        </p>
        <Advice m={m} of={alike.some(other => other.why !== m.why) ? nameOf(m) : ""} />
        {alike.length > 1 && <p class="names">{alike.slice(0, most).map(m => <span key={m.mac}><Name m={m} />{accusers(m)}</span>)}{alike.length > most && <a href="/machines">{alike.length - most} more</a>}</p>}
      </div>
    </div>
  );
}

const Name = ({ m }: { m: Machine }) => <a href={`/machines/${m.mac}`}>{nameOf(m)}</a>;

// accusers are who has banned a machine: two that lie together can name any.
const accusers = ({ banned_by: by = [] }: Machine) => (by.length > 0 ? ` (banned by ${few(by)})` : "");
const few = (all: string[]) => all.slice(0, 3).join(", ") + (all.length > 3 ? ` and ${all.length - 3} more` : "");

export function Advice({ m, of = "" }: { m: Machine; of?: string }) {
  return (
    <>
      <p class="why">{of && <b>{of}: </b>}{sentence(m.why)}</p>
      <p class="remedy">{m.remedy}</p>
    </>
  );
}

const sentence = (s = "") => (s ? s[0]!.toUpperCase() + s.slice(1) + (s.endsWith(".") ? "" : ".") : "");
