// What the boot server says, in the words of docs/openapi.json.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { components } from "./openapi";

type Schemas = components["schemas"];
export type Machine = Schemas["MachineStatus"];
export type Detail = Schemas["MachineDetail"];
export type Timeline = Schemas["Timeline"];
export type Peer = Schemas["Peer"];
export type Swarm = Schemas["SwarmStatus"];
export type Throughput = Schemas["Throughput"];
export type Image = Schemas["ImageStatus"];
export type Network = Schemas["NetworkStatus"];
export type Lease = Schemas["Lease"];
export type Stranger = Schemas["Stranger"];
export type Power = Schemas["Power"];
export type Settings = Schemas["Settings"];
export type LogLine = Schemas["Line"];
export type Condition = Machine["condition"];

export const prefix = "/api/v1";

// stranger: the server wants to know who asks. session counts the logins here.
export const stranger = signal(false);
export const session = signal(0);
export const refused = (response: Response) => { stranger.value ||= response.status === 401; };

const patience = 60_000; // ms, as long as the server gives itself

// send asks the server for something, or to change it. An error holds the server's
// own words; whoever has not said who he is gets to the login.
async function send(path: string, request: RequestInit = {}): Promise<Response> {
  const response = await fetch(prefix + path, { signal: AbortSignal.timeout(patience), ...request }).catch(() => { throw new Error("The boot server does not answer."); });
  if (response.ok) return response;
  refused(response);
  if (response.status === 401) throw new Error("The server had to ask who you are. Once logged in, send it again.");
  const text = await response.text();
  let problem: { detail?: string; errors?: { message: string }[] } = {};
  try { problem = JSON.parse(text); } catch { /* plain words */ }
  throw new Error([problem.detail ?? text, ...(problem.errors ?? []).map(e => e.message)].join(" "));
}

export const ask = async <T>(path: string): Promise<T> => (await send(path)).json();

export async function change(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<void> {
  await send(path, { method, headers: { "Content-Type": "application/json" }, body: body === undefined ? null : JSON.stringify(body) });
}

export interface Asked<T> { answer?: T; error?: string }

// useAnswer asks when path or moment changes, or who asks, and keeps what it has
// until the next answer is there.
export function useAnswer<T>(path: string, moment: unknown = 0): Asked<T> {
  const [asked, set] = useState<Asked<T> & { path: string; turn: number }>({ path: "", turn: 0 });
  const turns = useRef(0);
  useEffect(() => {
    const turn = ++turns.current; // a slow answer counts, unless a later one was faster
    const take = (news: Asked<T>) => set(before => (turn < before.turn ? before : { ...(before.path === path && before), ...news, path, turn }));
    ask<T>(path).then(answer => take({ answer, error: undefined }), (error: Error) => take({ error: error.message }));
  }, [path, moment, session.value]);
  return asked.path === path ? asked : {};
}
