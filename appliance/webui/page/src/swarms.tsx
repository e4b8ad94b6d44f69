// How the images travel: bytes in each second, by the server and by machines.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useAnswer, type Swarm, type Throughput } from "./api";
import { colour, useDrawing } from "./drawing";
import { swarms } from "./live";
import { Shares } from "./images";
import { now, percent, size } from "./words";

const powers = Array.from({ length: 40 }, (_, i) => 2 ** i); // sizes are binary

export function Swarms() {
  return (
    <>
      <h1>Swarms</h1>
      {swarms.value.length === 0 && <p class="empty">No image is served yet.</p>}
      {swarms.value.map(s => <Card key={s.digest} swarm={s} />)}
    </>
  );
}

function Card({ swarm }: { swarm: Swarm }) {
  const { answer } = useAnswer<Throughput>(`/throughput?image=${encodeURIComponent(swarm.image)}`, now.value);
  return (
    <section class="card">
      <h2>{swarm.image}<small>{swarm.peers} {swarm.peers === 1 ? "machine" : "machines"} in the swarm</small></h2>
      <Shares swarm={swarm} />
      <dl class="facts">
        <div><dt>Saved by peers</dt><dd>{size(swarm.peer_bytes)}<small> the server would have sent {(swarm.copies + swarm.peer_bytes / swarm.image_bytes).toFixed(1)} copies</small></dd></div>
        <div><dt>From rack to rack</dt><dd>{size(swarm.far_bytes)}{swarm.peer_bytes > 0 && <small> {percent(swarm.far_bytes / swarm.peer_bytes)} of what machines gave</small>}</dd></div>
        {swarm.boot_bytes > 0 && <div><dt>Kernels by peers</dt><dd>{size(swarm.boot_bytes)}</dd></div>}
      </dl>
      {answer && <Chart data={answer} />}
    </section>
  );
}

function Chart({ data }: { data: Throughput }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const draw = () => {
    plot.current?.destroy();
    const ink = (name: string) => colour(box.current!, name);
    const axis = { stroke: ink("--faint"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const series = (label: string, name: string) => ({ label, stroke: ink(name), fill: ink(name + "-soft"), width: 1.5, points: { show: false }, value: (_: uPlot, v: number | null) => (v === null ? "" : size(v) + "/s") });
    plot.current = new uPlot({
      width: box.current!.clientWidth, height: 220, cursor: { drag: { x: false, y: false } },
      series: [{}, series("machines to machines", "--peers"), series("from rack to rack", "--far"), series("server", "--server")],
      axes: [axis, { ...axis, size: 80, incrs: powers, values: (_, all) => all.map(v => size(v) + "/s") }],
      scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1024)] } },
    }, columns(data), box.current!);
  };
  useDrawing(box, draw);
  useEffect(() => () => plot.current?.destroy(), []);
  useEffect(() => plot.current?.setData(columns(data)), [data]);
  const sum = (list: number[]) => list.slice(-10).reduce((a, b) => a + b, 0) / Math.max(1, Math.min(10, list.length));
  return (
    <>
      <div ref={box} class="plot" aria-hidden="true" />
      <p class="legend"><span class="peers">machines to machines: {size(sum(data.peers))}/s</span><span class="far">from rack to rack: {size(sum(data.far))}/s</span><span class="server">server: {size(sum(data.server))}/s</span><span>mean of ten seconds; the chart shows ten minutes</span></p>
    </>
  );
}

function columns(t: Throughput): uPlot.AlignedData {
  const end = Math.floor(Date.parse(t.last) / 1000);
  return [t.server.map((_, i) => end - t.server.length + 1 + i), t.peers, t.far, t.server];
}
