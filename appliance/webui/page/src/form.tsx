// A form that has the server change something, and says what came of it. Who uses
// the keyboard is in it when it opens, and where he was when it closes.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export type Values = Record<string, string>;

export function Form({ label, button, children, send, then, quit }: {
  label: string; button: string; children: ComponentChildren;
  send: (values: Values) => Promise<unknown>; then?: () => void; quit?: () => void;
}) {
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const box = useRef<HTMLFormElement>(null);
  useEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    // Not at its button: whoever holds Enter down would press that too.
    (box.current!.querySelector("input") ?? box.current!).focus();
    return () => opener?.focus();
  }, []);
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
    <form class="change" ref={box} tabIndex={-1} aria-label={label} onSubmit={submit} onKeyDown={e => e.key === "Escape" && quit?.()}>
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
  return (
    <>
      <button class="small" aria-expanded={open} onClick={() => setOpen(!open)} aria-label={name}>{label}</button>
      {open && <Form label={name ?? label} button={button} send={send} quit={() => setOpen(false)} then={() => { setOpen(false); then?.(); }}>{children}</Form>}
    </>
  );
}

export const Field = ({ name, label, ...rest }: { name: string; label: string } & preact.InputHTMLAttributes) => (
  <label><span>{label}</span><input name={name} autocomplete="off" spellcheck={false} {...rest} /></label>
);
