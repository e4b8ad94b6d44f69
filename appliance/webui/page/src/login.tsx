// Who comes from elsewhere than the server itself says who he is, once.
import { useState } from "preact/hooks";

async function send(path: string, form?: FormData): Promise<string> {
  const body = new URLSearchParams();
  form?.forEach((value, key) => body.append(key, String(value)));
  const response = await fetch(path, { method: "POST", body });
  if (response.ok) {
    if (path === "/login") localStorage.setItem("in", "1");
    else localStorage.removeItem("in");
    location.reload(); // everything anew, as whoever it is now
    return "";
  }
  return response.text();
}

export function Login() {
  const [said, say] = useState("");
  return (
    <form class="card login" onSubmit={e => { e.preventDefault(); send("/login", new FormData(e.currentTarget)).then(say, (error: Error) => say(error.message)); }}>
      <h1>Log in</h1>
      <label for="token">Token</label>
      <input id="token" name="token" type="password" autocomplete="current-password" required autofocus aria-describedby="said" />
      <p id="said" role="alert" class="refusal">{said}</p>
      <button>Log in</button>
      <p class="faint">On the server, <code>swarmboot token new NAME --scope write</code> makes one that may change things, <code>--scope read</code> one that may not.</p>
    </form>
  );
}

// entered: somebody has said who he is. The cookie itself is out of reach.
export const entered = () => localStorage.getItem("in") !== null;

export const Logout = () => <button class="theme" onClick={() => { send("/logout"); }}>Log out</button>;
