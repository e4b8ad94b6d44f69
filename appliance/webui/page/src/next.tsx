// What a machine is to do next: which image it boots, and whether it is on.
import { useState } from "preact/hooks";
import { ask, change, useAnswer, type Detail, type Image, type Power } from "./api";
import { Act, Field } from "./form";

export function NextBoot({ d, changed }: { d: Detail; changed: () => void }) {
  const { answer: images } = useAnswer<Image[]>("/images");
  const path = `/machines/${d.mac}/override`;
  return (
    <section class="card">
      <h2>Next boot</h2>
      <p>{d.override ? <>It boots <b>{d.override.image}</b>{d.override.stays ? " at each boot, until it is given back to the settings." : ", once."}</> : "It boots what the settings name."}</p>
      <div class="acts">
        <Act label="Boot another image…" button="Boot it next" send={values => change("PUT", path, { image: values["image"], stays: values["stays"] === "on" })} then={changed}>
          <Field name="image" label="Image, in place of the settings'" placeholder="lab@2" required list="images" />
          <datalist id="images">{images?.map(i => <option key={i.image} value={i.image} />)}</datalist>
          <label class="check"><input type="checkbox" name="stays" /><span>at each boot, not once</span></label>
        </Act>
        <Act label="Roll back…" button="Roll back" send={() => change("POST", `/machines/${d.mac}/rollback`)} then={changed}>
          <p>From its next boot on it has the image with which it last reached its login, other than that of this boot.</p>
        </Act>
        {d.override && (
          <Act label="Give back…" button="Give back" send={() => change("DELETE", path)} then={changed}>
            <p>From its next boot on it has the image that the settings name.</p>
          </Act>
        )}
      </div>
    </section>
  );
}

// Switch asks a machine's management controller only when it is told to: many
// answer slowly, and few machines are switched.
export function Switch({ mac }: { mac: string }) {
  const [said, say] = useState("");
  const path = `/machines/${mac}/power`;
  const status = () => {
    say("…");
    ask<Power>(path).then(p => say(p.power === "unknown" ? "Its controller does not say." : `It is ${p.power}.`), (error: Error) => say(error.message));
  };
  const act = (action: string) => (values: Record<string, string>) => change("POST", path, { action, network: values["network"] === "on" });
  const network = <label class="check"><input type="checkbox" name="network" /><span>boot from the network card this time</span></label>;
  return (
    <section class="card">
      <h2>Power</h2>
      <p role="status">{said}</p>
      <div class="acts">
        <button class="small" onClick={status}>Is it on?</button>
        <Act label="Switch on…" button="Switch on" send={act("on")} then={status}>{network}</Act>
        <Act label="Switch off and on…" button="Switch off and on" danger send={act("cycle")} then={status}>{network}</Act>
        <Act label="Switch off…" button="Switch off" danger send={act("off")} then={status}><p>At once, as by pulling the plug.</p></Act>
      </div>
    </section>
  );
}
