// How numbers and names are written.
import { signal } from "@preact/signals";
import type { Condition, Machine } from "./api";

// now goes on once a second.
export const now = signal(Date.now());
setInterval(() => { now.value = Date.now(); }, 1000);

export const sign: Record<Condition, string> = { failed: "✕", stuck: "▲", silent: "◌", booting: "◐", up: "●", unseen: "·" };
export const meaning: Record<Condition, string> = {
  failed: "says that it cannot go on",
  stuck: "longer at one stage than any machine should be",
  silent: "was up, and is heard no more",
  booting: "on its way",
  up: "has reached its login",
  unseen: "not heard of yet",
};

export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
  return `${bytes >= 100 || i === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[i]}`;
}

export function duration(ms: number): string {
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 100) return `${m} min ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  const h = Math.floor(m / 60);
  return h < 48 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} days`;
}

export const ago = (time: string | undefined, at: number) => (time ? duration(Math.max(0, at - Date.parse(time))) : "");
// Swedish writes 2026-11-23 01:58:31, as logs do.
export const clock = (time: string | number) => new Date(time).toLocaleTimeString("sv");
export const moment = (time: string) => new Date(time).toLocaleString("sv");

// arrived is how much of the image a machine has, 0 to 1.
export const arrived = (m: Machine) => (m.progress && m.progress.pieces > 0 ? m.progress.have / m.progress.pieces : 0);

// percent rounds down, so that 100 % means all.
export const percent = (part: number) => `${Math.floor(part * 100)} %`;

export function stageOf(m: Machine): string {
  if (!m.stage) return "";
  return m.stage === "failed" ? `failed at ${m.at}` : m.stage;
}
