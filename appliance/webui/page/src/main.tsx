// The frame around every page: where one is, how the machines fare, and whether
// what is shown is still current.
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import "./style.css";
import { begun, connected, lastHeard, listen, machine, nameOf, strangers, troubled } from "./live";
import { stranger } from "./api";
import { path } from "./route";
import { clock } from "./words";
import { entered, Login, Logout } from "./login";
import { Racks } from "./racks";
import { Machines } from "./machines";
import { MachinePage } from "./machine";
import { Images } from "./images";
import { Swarms } from "./swarms";
import { Networks } from "./networks";

const pages = [
  { at: "/", name: "Racks", page: Racks },
  { at: "/machines", name: "Machines", page: Machines },
  { at: "/images", name: "Images", page: Images },
  { at: "/swarms", name: "Swarms", page: Swarms },
  { at: "/networks", name: "Networks", page: Networks },
];

type Theme = "auto" | "light" | "dark";
const themes: Theme[] = ["auto", "light", "dark"];
const theme = signal((localStorage.getItem("theme") as Theme | null) ?? "auto");
theme.subscribe(t => {
  document.documentElement.dataset.theme = t;
  localStorage.setItem("theme", t);
});
const nextTheme = () => { theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length]!; };

let arrived = false;

function Page() {
  const at = path.value;
  const known = pages.find(p => p.at === at);
  const mac = at.startsWith("/machines/") ? decodeURIComponent(at.slice("/machines/".length)) : "";
  const m = machine(mac)?.value;
  const title = known?.name ?? (m ? nameOf(m) : mac);
  useEffect(() => { document.title = title ? `${title} · Swarmboot` : "Swarmboot"; }, [title]);
  useEffect(() => {
    if (connected.peek()) stranger.value = false; // he has gone on to look
    // What reads the page aloud goes on with the new content. On arrival Tab
    // begins at the top as on every page.
    if (arrived) document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
    arrived = true;
  }, [at]);
  if (mac) return <MachinePage mac={mac} key={mac} />;
  if (known) return <known.page />;
  return <><h1>There is no such page</h1><p><a href="/">To the racks</a></p></>;
}

function App() {
  const ill = troubled.value;
  const here = (p: { at: string }) => (p.at === "/" ? path.value === "/" : path.value.startsWith(p.at));
  return (
    <>
      <a class="skip" href="#main" onClick={e => { e.preventDefault(); document.getElementById("main")?.focus(); }}>To the content</a>
      <header class="top">
        <a class="brand" href="/"><img src="/icon.svg" alt="" width="22" height="22" />Swarmboot</a>
        <nav aria-label="Pages">
          {pages.map(p => (
            <a key={p.at} href={p.at} aria-current={here(p) ? "page" : undefined}>
              {p.name}
              {p.at === "/" && ill > 0 && <span class="badge" aria-label={`${ill} need somebody`}>{ill}</span>}
              {p.at === "/networks" && strangers.value.length > 0 && <span class="badge calm" aria-label={`${strangers.value.length} unknown machines`}>{strangers.value.length}</span>}
            </a>
          ))}
        </nav>
        <span class={connected.value ? "live" : "live lost"}>{connected.value ? "live" : begun.value ? "not live" : "connecting"}</span>
        {entered.value && begun.value && <Logout />}
        <button class="theme" onClick={nextTheme} title="Colours: as the system, light, dark">{{ auto: "◑ auto", light: "○ light", dark: "● dark" }[theme.value]}</button>
        <p class="away" role="status">{begun.value && !connected.value && `Connection lost; trying again. What you see is of ${clock(lastHeard.value)}.`}</p>
      </header>
      <main id="main" tabIndex={-1}>
        {stranger.value && <Login />}
        {(begun.value || !stranger.value) && <div class="page" hidden={stranger.value}><Page /></div>}
      </main>
    </>
  );
}

listen();
render(<App />, document.getElementById("page")!);
