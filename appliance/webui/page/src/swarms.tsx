// How the images travel: bytes in each second, by the server and by machines.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useAnswer, type Swarm, type Throughput } from "./api";
import { colour, useDrawing } from "./drawing";
import { Fact } from "./facts";
import { swarms } from "./live";
import { Shares } from "./images";
import { clock, now, percent, size } from "./words";

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
        <Fact name="Saved by peers">{size(swarm.peer_bytes)}<small> the server would have sent {(swarm.copies + swarm.peer_bytes / swarm.image_bytes).toFixed(1)} copies</small></Fact>
        <Fact name="From rack to rack">{size(swarm.far_bytes)}{swarm.peer_bytes > 0 && <small> {percent(swarm.far_bytes / swarm.peer_bytes)} of what machines gave</small>}</Fact>
        <Fact name="Kernels by peers">{swarm.boot_bytes > 0 && size(swarm.boot_bytes)}</Fact>
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
    const series = (name: string) => ({ stroke: ink(name), fill: ink(name + "-soft"), width: 1.5, points: { show: false } });
    plot.current = new uPlot({
      width: box.current!.clientWidth, height: 220, padding: [null, 32, null, null], cursor: { show: false }, legend: { show: false },
      series: [{}, series("--peers"), series("--far"), series("--server")],
      axes: [{ ...axis, size: 30, space: 90, values: (_, all) => all.map(s => clock(s * 1000)) }, { ...axis, size: 80, incrs: powers, values: (_, all) => all.map(v => size(v) + "/s") }],
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
