// A form that has the server change something, and says what came of it. Who uses
// the keyboard is in it when it opens, and where he was when it closes.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export type Values = Record<string, string>;

export function Form({ label, button, danger = false, children, send, then, quit }: {
  label: string; button: string; danger?: boolean; children: ComponentChildren;
  send: (values: Values) => Promise<void>; then?: () => void; quit?: () => void;
}) {
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const box = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => { // before what had the focus is hidden
    const opener = document.activeElement as HTMLElement | null;
    // Not at its button: whoever holds Enter down would press that too.
    (box.current!.querySelector("input") ?? box.current!).focus();
    return () => queueMicrotask(() => opener?.focus()); // when it is seen again
  }, []);
  const submit = (e: SubmitEvent) => {
    e.preventDefault();
    if (busy) return;
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
      <button aria-disabled={busy} class={danger ? "danger" : ""}>{button}</button>
      {quit && <button type="button" class="quiet" onClick={quit}>Cancel</button>}
      <p role="alert" class="refusal">{said}</p>
    </form>
  );
}

// An Act is a button for a change. It opens a form that says what will happen.
export function Act({ label, name, then, ...form }: {
  label: string; name?: string; button: string; danger?: boolean; children: ComponentChildren; send: (values: Values) => Promise<void>; then?: () => void;
}) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button class="small" aria-expanded={open} onClick={() => setOpen(!open)} aria-label={name}>{label}</button>
      {open && <Form {...form} label={name ?? label} quit={() => setOpen(false)} then={() => { setOpen(false); then?.(); }} />}
    </>
  );
}

export const Field = ({ name, label, ...rest }: { name: string; label: string } & preact.InputHTMLAttributes) => (
  <label><span>{label}</span><input name={name} autocomplete="off" spellcheck={false} {...rest} /></label>
);
