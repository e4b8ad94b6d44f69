// Debian's Chromium, and what the tests of the pages have it do. SWARMBOOT_URL
// names the boot server, SWARMBOOT_TOKEN may change things there, and screenshots
// go to the folder SWARMBOOT_SHOTS.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const url = process.env.SWARMBOOT_URL ?? "http://127.0.0.1:8470";
export const token = process.env.SWARMBOOT_TOKEN;
const shots = process.env.SWARMBOOT_SHOTS ?? ".";

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
});
after(() => browser.close());

// open opens a page, which notes its errors, those of its security policy too; that
// the server wants to know who asks is none. With clock its time is the test's.
export async function open(path, { clock = false, ...options } = {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
  if (clock) await page.clock.install();
  page.errors = [];
  page.on("pageerror", error => page.errors.push(error.message));
  page.on("console", message => message.type() === "error" && !message.text().includes("401") && page.errors.push(message.text()));
  page.setDefaultTimeout(60_000); // the computer may be busy
  await page.goto(new URL(path, url).href);
  return page;
}

// shoot keeps what the page looks like, from its top: in the window, or whole.
export async function shoot(page, name, fullPage = false) {
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${shots}/${name}.png`, fullPage });
}

export async function login(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

export const focused = element => element.evaluate(e => e === document.activeElement);

export const api = async path => (await (await fetch(url + "/api/v1" + path)).json());

// until waits for what the machines do.
export async function until(what, condition) {
  for (let i = 0; i < 1200; i++) {
    const got = await condition();
    if (got) return got;
    await new Promise(done => setTimeout(done, 250));
  }
  assert.fail(`waited for ${what}`);
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core"), "utf8");

// keepsTheRules: of WCAG 2.1, level AA, those that a program can look at. Nor has
// the page said that something is wrong.
export async function keepsTheRules(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }));
  assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.length} × ${v.nodes[0].html} ${v.nodes[0].failureSummary}`), [], name);
  assert.deepEqual(page.errors, [], name);
}
