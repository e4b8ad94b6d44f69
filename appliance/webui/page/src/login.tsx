// Who comes from elsewhere than the server itself, or changes something, says who he
// is, once.
import { signal } from "@preact/signals";
import { session, stranger } from "./api";
import { Field, Form, type Values } from "./form";
import { connected } from "./live";

async function post(path: string, values: Values = {}) {
  const response = await fetch(path, { method: "POST", body: new URLSearchParams(values) });
  if (!response.ok) throw new Error(await response.text());
}

// entered: somebody has said who he is. The cookie itself is out of reach.
export const entered = signal(localStorage.getItem("in") !== null);

async function enter(token: Values) {
  await post("/login", token);
  localStorage.setItem("in", "1");
  entered.value = true;
  stranger.value = false;
  session.value++;
}

export function Login() {
  const back = () => { stranger.value = false; };
  return (
    <section class="card login">
      <h1>Log in</h1>
      {connected.value && <p>Everybody here may look. To change something, say who you are; what you have typed stays.</p>}
      <Form label="Log in" button="Log in" send={enter} quit={connected.value ? back : undefined}>
        <Field name="token" label="Token" type="password" autocomplete="current-password" required />
      </Form>
      <p class="faint">On the server, <code>swarmboot token new NAME --scope write</code> makes one that may change things, <code>--scope read</code> one that may not.</p>
    </section>
  );
}

async function leave() {
  await post("/logout");
  localStorage.removeItem("in");
  location.reload(); // what was seen is not for the next one
}

export const Logout = () => <button class="theme" onClick={leave}>Log out</button>;
