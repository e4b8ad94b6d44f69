// The stages of a boot as bars, one below the other: this boot, and as a thin
// line under each bar the median of the last boots of the image.
import type { Timeline } from "./api";
import { duration } from "./words";

const stages = ["dhcp", "loader", "script", "kernel", "init", "network", "swarm", "root", "switch-root", "ready", "complete", "handed-over", "seeding"];

interface Bar { stage: string; from: number; to: number }

// bars gives each stage the time from when it was reached until the next one
// was. On a fast network an image is complete before the login: so next is the
// next in time. The last stage lasts until end, if that is later.
function bars(boot: Timeline, end: number): Bar[] {
  const reached = stages.filter(s => boot.stages[s] !== undefined)
    .map((stage, i) => ({ stage, i, from: boot.stages[stage]! }))
    .sort((a, b) => a.from - b.from || a.i - b.i);
  return reached.map((b, i) => ({ stage: b.stage, from: b.from, to: reached[i + 1]?.from ?? Math.max(end, b.from) }));
}

// Waterfall shows a boot until a moment; 0: until its last stage.
export function Waterfall({ boot, typical, sample, until }: { boot: Timeline; typical?: Timeline; sample: number; until: number }) {
  const own = bars(boot, until - Date.parse(boot.began)), running = until > 0;
  const usual = typical ? bars(typical, 0) : [];
  const end = Math.max(1000, ...own.map(b => b.to), ...usual.map(b => b.to)) * 1.02;
  const shown = stages.filter(s => own.some(b => b.stage === s) || usual.some(b => b.stage === s));
  const place = (b: Bar) => ({ left: `${(b.from / end) * 100}%`, width: `${Math.max(0.3, ((b.to - b.from) / end) * 100)}%` });
  const ticks = scale(end);
  return (
    <table class="waterfall">
      <caption><div class="legend"><span class="mine">this boot</span>{typical ? <span class="usual">median of {sample} {sample === 1 ? "boot" : "boots"} of {boot.image}</span> : <span>no other whole boot of {boot.image} to compare with yet</span>}</div></caption>
      <thead>
        <tr><th scope="col">Stage</th><th scope="col" class="n">At</th><th scope="col" class="n">Took</th><th scope="col" class="n">Median</th>
          <th scope="col" class="axis" aria-label="Chart">{ticks.map(t => <span key={t} style={{ left: `${(t / end) * 100}%` }}>{tick(t)}</span>)}</th></tr>
      </thead>
      <tbody>
        {shown.map(s => {
          const b = own.find(b => b.stage === s), u = usual.find(b => b.stage === s);
          const took = b ? b.to - b.from : 0, median = u ? u.to - u.from : 0;
          const last = b === own.at(-1), ended = u && u !== usual.at(-1); // the last stages have no end
          const slow = b && !last && ended && took > median * 1.5 && took - median > 1000;
          return (
            <tr key={s} class={boot.failed === s ? "failed" : slow ? "slow" : ""}>
              <th scope="row">{s}</th>
              <td class="n">{b && duration(b.from)}</td>
              <td class="n">{b && (!last || running) && duration(took)}{slow && <span class="sr"> slower than usual</span>}</td>
              <td class="n faint">{ended && duration(median)}</td>
              <td class="chart">
                {ticks.map(t => <i key={t} class="grid" style={{ left: `${(t / end) * 100}%` }} />)}
                {b && <i class={`bar ${last ? (running ? "now" : "point") : ""}`} style={place(b)} />}
                {u && <i class="bar usual" style={place(u)} />}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

// scale gives about six round times up to end.
function scale(end: number): number[] {
  const step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21600, 86400].map(s => s * 1000).find(s => end / s <= 7) ?? end;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

const tick = (ms: number) => (ms < 120_000 ? `${ms / 1000} s` : ms < 7_200_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`);
