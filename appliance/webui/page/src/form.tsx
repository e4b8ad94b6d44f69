// A form that has the server change something, and says what came of it.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export type Values = Record<string, string>;

export function Form({ label, button, children, send, then, quit }: {
  label: string; button: string; children: ComponentChildren;
  send: (values: Values) => Promise<unknown>; then?: () => void; quit?: () => void;
}) {
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = (e: SubmitEvent) => {
    e.preventDefault();
    const form = e.currentTarget as HTMLFormElement;
    const values: Values = {};
    new FormData(form).forEach((value, key) => { if (String(value).trim()) values[key] = String(value).trim(); });
    setBusy(true);
    say("");
    send(values).then(() => { form.reset(); then?.(); }, (error: Error) => say(error.message)).finally(() => setBusy(false));
  };
  return (
    <form class="change" aria-label={label} onSubmit={submit} onKeyDown={e => e.key === "Escape" && quit?.()}>
      {children}
      <button disabled={busy}>{button}</button>
      {quit && <button type="button" class="quiet" onClick={quit}>Cancel</button>}
      <p role="alert" class="refusal">{said}</p>
    </form>
  );
}

export const Field = ({ name, label, ...rest }: { name: string; label: string } & preact.InputHTMLAttributes) => (
  <label><span>{label}</span><input name={name} autocomplete="off" spellcheck={false} {...rest} /></label>
);
