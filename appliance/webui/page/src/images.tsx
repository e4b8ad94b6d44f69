// The images on offer: who runs them, and what they have cost the server.
import { useState } from "preact/hooks";
import { change, useAnswer, type Image } from "./api";
import { Fact } from "./facts";
import { Act, Field } from "./form";
import { conditions, counts, swarms } from "./live";
import { Sign } from "./machines";
import { percent, size } from "./words";

export function Images() {
  const [changes, setChanges] = useState(0);
  const { answer: images, error } = useAnswer<Image[]>("/images", JSON.stringify(counts.value) + changes);
  return (
    <>
      <h1>Images</h1>
      {error && <p class="line failed">{error}</p>}
      {images?.length === 0 && <p class="empty">The catalogue is empty. <code>swarmboot image build --help</code> tells how to make an image.</p>}
      <div class="cards">{images?.map(image => <Card key={image.digest + image.image} image={image} changed={() => setChanges(n => n + 1)} />)}</div>
    </>
  );
}

function Card({ image, changed }: { image: Image; changed: () => void }) {
  const swarm = swarms.value.find(s => s.digest === image.digest);
  const machines = conditions.filter(c => image.machines[c]);
  return (
    <section class="card">
      <h2>{image.image}<small>{image.arch} · kernel {image.kernel}</small></h2>
      <p class="run">{machines.length ? machines.map(c => <span key={c}><Sign c={c} />{image.machines[c]} {c}</span>) : <span class="faint">no machine boots it</span>}</p>
      {swarm && <Shares swarm={swarm} />}
      <dl class="facts">
        <Fact name="Root">{size(image.root_bytes)}<small> {image.filesystem}, {image.pieces} pieces</small></Fact>
        <Fact name="Kernel, modules">{size(image.boot_bytes)}</Fact>
        <Fact name="A boot reads">{image.hot ? <>{size(image.hot * image.piece_bytes)}<small> {percent(image.hot / image.pieces)}</small></> : "not recorded yet"}</Fact>
        <Fact name="In the swarm">{swarm?.peers}</Fact>
      </dl>
      <Tags image={image} changed={changed} />
      <p class="digest"><code>sha256:{image.digest}</code></p>
    </section>
  );
}

// Tags shows which tags stand for an image, takes one away, and moves one here.
function Tags({ image, changed }: { image: Image; changed: () => void }) {
  const [name, version] = image.image.split("@") as [string, string];
  const path = (tag: string) => `/images/${name}/tags/${encodeURIComponent(tag)}`;
  return (
    <div class="acts">
      {image.tags.map(tag => (
        <span key={tag}>
          <span class="tag">{name}@{tag}</span>
          <Act label="✕" name={`Untag ${name}@${tag}`} button="Untag" danger send={() => change("DELETE", path(tag))} then={changed}>
            <p>Machines with the image {name}@{tag} find none at their next boot. The image stays.</p>
          </Act>
        </span>
      ))}
      <Act label="Tag…" name={`Tag ${image.image}`} button="Tag" send={values => change("PUT", path(values["tag"] ?? ""), { version })} then={changed}>
        <Field name="tag" label={`Machines with the image ${name}@… get this one at their next boot`} placeholder="stable" required pattern="[a-z0-9][a-z0-9._\-]*" />
      </Act>
    </div>
  );
}

// Shares compares what the server gave with what the machines gave each other.
export function Shares({ swarm }: { swarm: { seeder_bytes: number; http_bytes: number; peer_bytes: number; copies: number } }) {
  const server = swarm.seeder_bytes + swarm.http_bytes, all = server + swarm.peer_bytes;
  return (
    <>
      <div class="pieces shares" role="img" aria-label={`The server sent ${size(server)}, the machines gave each other ${size(swarm.peer_bytes)}`}>
        <i class="server" style={{ flexGrow: server }} /><i class="peers" style={{ flexGrow: swarm.peer_bytes }} />{all === 0 && <i class="missing" style={{ flexGrow: 1 }} />}
      </div>
      <p class="legend"><span class="server">the server: {size(server)}, {swarm.copies.toFixed(2)} copies</span><span class="peers">machines to machines: {size(swarm.peer_bytes)}{all > 0 && `, ${percent(swarm.peer_bytes / all)}`}</span></p>
    </>
  );
}
