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

// An Act is a button for a change. It opens a form that says what will happen.
export function Act({ label, name, button, children, send, then }: {
  label: string; name?: string; button: string; children: ComponentChildren; send: (values: Values) => Promise<unknown>; then?: () => void;
}) {
  const [open, setOpen] = useState(false);
  if (!open) return <button class="small" onClick={() => setOpen(true)} aria-label={name}>{label}</button>;
  return <Form label={name ?? label} button={button} send={send} quit={() => setOpen(false)} then={() => { setOpen(false); then?.(); }}>{children}</Form>;
}

export const focus = (input: HTMLInputElement | null) => input?.focus();

export const Field = ({ name, label, ...rest }: { name: string; label: string } & preact.InputHTMLAttributes) => (
  <label><span>{label}</span><input name={name} autocomplete="off" spellcheck={false} {...rest} /></label>
);
