// What the boot server says, in the words of docs/openapi.json.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
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
export type LogLine = Schemas["Line"];
export type Condition = Machine["condition"];

export const prefix = "/api/v1";

// stranger: the server wants to know who asks.
export const stranger = signal(false);
export const refused = (response: Response) => { stranger.value = response.status === 401; };

// ask gets one answer. An error holds the server's own words.
export async function ask<T>(path: string): Promise<T> {
  const response = await fetch(prefix + path);
  if (!response.ok) {
    refused(response);
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `the boot server answered ${response.status}`);
  }
  return response.json();
}

// change has the server change something. An error holds the server's own words;
// whoever has not said who he is gets to the login.
export async function change<T = void>(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<T | undefined> {
  const response = await fetch(prefix + path, { method, headers: { "Content-Type": "application/json" }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  if (response.status === 204) return undefined;
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  refused(response);
  let problem: { detail?: string; errors?: { message: string }[] } = {};
  try { problem = JSON.parse(text); } catch { /* plain words */ }
  throw new Error([problem.detail ?? text, ...(problem.errors ?? []).map(e => e.message)].join(" "));
}

export interface Asked<T> { answer?: T; error?: string }

// useAnswer asks when path or moment changes, and keeps what it has until the
// next answer is there.
export function useAnswer<T>(path: string, moment: unknown = 0): Asked<T> {
  const [asked, set] = useState<Asked<T> & { path?: string }>({});
  useEffect(() => {
    let gone = false;
    ask<T>(path).then(
      answer => gone || set({ path, answer }),
      (error: Error) => gone || set(before => ({ ...before, path, error: error.message })),
    );
    return () => { gone = true; };
  }, [path, moment]);
  return asked.path === path ? asked : {};
}
