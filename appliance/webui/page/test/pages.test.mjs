// What the admin pages promise, looked at while a hall of machines boots.
// appliance/e2e's TestPages runs this with a boot server and simulated machines.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { api, focused, keepsTheRules, login, open, shoot, token, until, url } from "./browser.mjs";

test("a page weighs less than 300 KB and loads nothing from elsewhere", async () => {
  const page = await open("/");
  await page.waitForSelector(".rack");
  const resources = await page.evaluate(() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter(e => !e.name.includes("/api/")).map(e => [e.name, e.transferSize]));
  assert.ok(resources.every(([name]) => name.startsWith(url)), `loaded ${resources}`);
  const weight = resources.reduce((sum, [, size]) => sum + size, 0);
  assert.ok(weight > 10_000 && weight < 300_000, `weighs ${weight} bytes`);
  console.log(`the page weighs ${weight} bytes`);
  await page.close();
});

test("racks stand as in the room, and the page is quick while all machines boot", async () => {
  const machines = await api("/machines");
  await until("the hall to boot", async () => (await api("/machines")).filter(m => m.condition === "booting").length > machines.length / 2);
  const page = await open("/");
  await page.waitForSelector(".slot");
  assert.equal(await page.locator(".rack").count(), new Set(machines.map(m => m.rack)).size);
  // Slot 1 is the lowest.
  await page.waitForSelector('[data-mac="52:54:00:00:00:00"]', { state: "attached" });
  const [first, second] = await page.evaluate(() => ["00", "01"].map(n => document.querySelector(`[data-mac="52:54:00:00:00:${n}"]`).getBoundingClientRect().y));
  assert.ok(first > second, `slot 1 at ${first}, slot 2 at ${second}`);
  // Only racks near the window are drawn.
  const slots = await page.locator(".slot").count();
  assert.ok(slots < machines.length, `${slots} slots are drawn`);

  // Machines report once a second each. The page must have time to spare: counted
  // is what its thread takes of a processor, which others may want too.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const clocks = async () => Object.fromEntries((await devtools.send("Performance.getMetrics")).metrics.map(m => [m.name, m.value]));
  const begun = await clocks();
  const frames = await page.evaluate(() => new Promise(done => {
    const frames = [];
    const begun = performance.now();
    let last = begun;
    const frame = now => {
      frames.push(now - last);
      last = now;
      if (now - begun < 10_000) return requestAnimationFrame(frame);
      frames.sort((a, b) => a - b);
      done({ median: frames[frames.length >> 1], p99: frames[Math.floor(frames.length * .99)] });
    };
    requestAnimationFrame(frame);
  }));
  const ended = await clocks(), busy = (ended.ThreadTime - begun.ThreadTime) / (ended.Timestamp - begun.Timestamp);
  console.log(`${machines.length} machines: ${Math.round(busy * 100)} % of a processor; frames ${frames.median.toFixed(0)} ms median, ${frames.p99.toFixed(0)} ms 99th percentile`);
  assert.ok(busy < .5, `the page takes ${busy * 100} % of a processor`);
  await shoot(page, "racks-booting");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a machine that cannot go on says why, and what to do", async () => {
  const ill = await until("a machine to fail", async () => (await api("/machines")).find(m => m.condition === "failed"));
  const page = await open("/");
  await page.locator(".trouble").waitFor();
  const more = page.getByRole("button", { name: /show \d+ more/i });
  if (await more.isVisible()) await more.click();
  await page.locator(".trouble a", { hasText: ill.name }).click();
  await page.waitForURL(`**/machines/${ill.mac}`);
  await page.locator(".advice .why").waitFor();
  assert.match((await page.locator(".advice").textContent()).toLowerCase(), new RegExp(ill.at));
  assert.ok((await page.locator(".advice .remedy").textContent()).length > 20);
  await shoot(page, "machine-failed");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a machine that boots shows its pieces, its peers and its console", async () => {
  const going = await until("a machine with some pieces", async () => (await api("/machines")).find(m => m.stage === "switch-root" && m.progress?.have > 100));
  const page = await open(`/machines/${going.mac}`);
  await page.locator(".log", { hasText: "what a kernel says" }).waitFor();
  const painted = await page.locator(".map canvas").evaluate(canvas => new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 0)).size);
  assert.ok(painted >= 3, `the map has ${painted} colours`);
  const peers = page.locator(".card", { has: page.getByRole("heading", { name: /Peers/ }) });
  assert.match(await peers.locator("h2").textContent(), /\d+ connected, .*\/s from them/);
  await peers.getByRole("button", { name: /show \d+ more/i }).click();
  await peers.locator("td", { hasText: "another rack" }).first().waitFor();
  await shoot(page, "machine-booting", true);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("the waterfall sets a boot beside the median of its image", async () => {
  const up = await until("a machine to be up and complete", async () => (await api("/machines")).find(m => m.stage === "seeding"));
  await until("another boot to compare with", async () => (await api(`/machines/${up.mac}`)).sample > 5);
  const page = await open(`/machines/${up.mac}`);
  await page.waitForSelector(".waterfall");
  const stages = await page.locator(".waterfall th[scope=row]").allTextContents();
  for (const stage of ["dhcp", "script", "kernel", "init", "root", "switch-root", "ready", "complete", "seeding"]) assert.ok(stages.includes(stage), `${stage} is not among ${stages}`);
  assert.match(await page.locator(".waterfall caption").textContent(), /median of \d+ boots of lab@/);
  const medians = await page.locator(".waterfall .bar.usual").count();
  assert.ok(medians >= 9 && medians <= stages.length, `${medians} medians beside ${stages.length} stages`); // to the login at least
  await page.locator(".log li", { hasText: "boot begins" }).first().waitFor();
  await shoot(page, "machine");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("the list holds all machines and draws few", async () => {
  const machines = await api("/machines");
  const page = await open("/machines");
  await page.waitForSelector(".rows tbody tr");
  assert.equal(await page.locator(".rows").getAttribute("aria-rowcount"), String(machines.length + 1));
  assert.ok(await page.locator(".rows tbody tr").count() < 200);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  const last = machines.at(-1).name;
  await page.getByRole("link", { name: last, exact: true }).waitFor();
  await page.getByRole("searchbox").fill(last);
  await until("one row", async () => await page.locator(".rows tbody a").count() === 1);
  await shoot(page, "machines");
  await page.close();
});

// Looking is free here, on loopback; what changes something takes a token that may.
test("a tag is moved by whoever may, and nobody else", async () => {
  const page = await open("/images");
  const send = () => page.getByRole("button", { name: "Tag", exact: true }).click();
  const tag = async () => {
    await page.getByRole("button", { name: "Tag lab@2" }).click();
    await page.getByPlaceholder("stable").fill("stable");
    await send();
  };
  await tag();
  await login(page, "wrong");
  await page.getByText("this token is wrong").waitFor();
  assert.equal((await api("/images")).find(i => i.image === "lab@2").tags.length, 0);
  await shoot(page, "login-refused");
  await login(page, token);
  await page.getByRole("button", { name: "Log out" }).waitFor();
  await send(); // what was typed is still there
  await page.locator(".tag", { hasText: "lab@stable" }).waitFor();
  assert.deepEqual((await api("/images")).find(i => i.image === "lab@2").tags, ["stable"]);
  await shoot(page, "tag");
  await page.getByRole("button", { name: "Untag lab@stable" }).click();
  await page.getByRole("button", { name: "Untag", exact: true }).click();
  await page.locator(".tag", { hasText: "lab@stable" }).waitFor({ state: "detached" });
  assert.deepEqual((await api("/images")).find(i => i.image === "lab@2").tags, []);
  assert.deepEqual(page.errors, []);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log out" }).waitFor({ state: "detached" });
  await tag();
  await page.getByLabel("Token").waitFor();
  await page.getByRole("button", { name: "Cancel" }).last().click();
  await page.getByPlaceholder("stable").waitFor();
  await page.close();
});

test("a machine is told what to boot next, and switched off and on", async () => {
  const mac = "52:54:00:00:00:05";
  const page = await open(`/machines/${mac}`);
  const next = page.locator(".card", { hasText: "Next boot" }), power = page.locator(".card", { hasText: "Is it on?" });
  const send = next.getByRole("button", { name: "Boot it next" });
  await next.getByRole("button", { name: "Boot another image…" }).click();
  await next.getByLabel(/^Image/).fill("lab@2");
  await send.click();
  await login(page, token);
  await until("the focus to return", () => focused(send));
  await send.click();
  await next.getByText("It boots lab@2, once.").waitFor();
  assert.equal((await api(`/machines/${mac}`)).override.image, "lab@2");
  await next.getByRole("button", { name: "Give back…" }).click();
  await next.getByRole("button", { name: "Give back", exact: true }).click();
  await next.getByText("It boots what the settings name.").waitFor();

  await power.getByRole("button", { name: "Is it on?" }).click();
  await power.getByText("It is on.").waitFor();
  await power.getByRole("button", { name: "Switch off…" }).click();
  await shoot(page, "machine-power", true);
  await power.getByRole("button", { name: "Switch off", exact: true }).click();
  await power.getByText("It is off.").waitFor();
  await power.getByRole("button", { name: "Switch on…" }).click();
  await power.getByLabel("boot from the network card this time").check();
  await power.getByRole("button", { name: "Switch on", exact: true }).click();
  await power.getByText("It is on.").waitFor();
  await page.close();
});

test("an unknown machine is adopted", async () => {
  const stranger = await until("a machine that nobody has listed", async () => (await api("/strangers"))[0]);
  const page = await open("/networks");
  await page.getByRole("button", { name: `Adopt ${stranger.mac}` }).click();
  await page.getByLabel("Name").fill("r01-n99");
  const send = () => page.getByRole("button", { name: "Adopt", exact: true }).click();
  await page.getByLabel("Rack").fill("nowhere");
  await shoot(page, "adopt");
  await send();
  await login(page, token);
  await send();
  await page.getByText(/nowhere/).waitFor();
  await page.getByLabel("Rack").fill("r01");
  await send();
  await page.getByText("takes it up within seconds").waitFor();
  await until("the machine to be listed", async () => (await api("/machines")).find(m => m.name === "r01-n99" && m.rack === "r01"));
  await page.getByRole("button", { name: `Adopt ${stranger.mac}` }).waitFor({ state: "detached" });
  await page.close();
});

test("a swarm shows what its machines have saved, and what went from rack to rack", async () => {
  const page = await open("/swarms");
  const fact = async name => await page.locator(".facts div", { hasText: name }).first().locator("dd").textContent();
  await page.locator(".plot canvas").first().waitFor();
  assert.match(await fact("Saved by peers"), /GiB the server would have sent [\d.]+ copies/);
  assert.match(await fact("From rack to rack"), /[1-9]\d* % of what machines gave/);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("all can be done by keyboard", async () => {
  const page = await open("/");
  await page.waitForSelector(".slot");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
  await page.locator('[data-mac="52:54:00:00:00:00"]').focus();
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowRight");
  await until("the focus to move", async () => await page.evaluate(() => document.activeElement.dataset.mac) === "52:54:00:00:00:2a");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/machines/52:54:00:00:00:2a");
  const off = page.getByRole("button", { name: "Switch off…" });
  await off.focus();
  await page.keyboard.press("Enter");
  await page.getByText("as by pulling the plug").waitFor();
  assert.ok(await focused(page.getByRole("form", { name: "Switch off…" })), "Enter, held down, does not switch it off");
  await page.keyboard.press("Escape");
  await until("the focus to return", () => focused(off));
  await page.close();
});

// Machines that are banned need the same, but not by the word of the same others.
test("of each banned machine is told who has banned it", async () => {
  const page = await open("/");
  await page.waitForSelector(".slot");
  const machines = await api("/machines");
  const banned = (n, by) => Object.assign(machines[n], { condition: "up", banned_by: by, why: `it sends pieces that are not what was signed, say ${by}`, remedy: "Test its memory." });
  banned(1, ["a", "b"]);
  banned(2, ["c", "d", "e", "f", "g"]);
  await page.route("**/api/v1/events", route => route.fulfill({ contentType: "text/event-stream", body: `event: machines\ndata: ${JSON.stringify(machines)}\n\n` }));
  await looks(page, false);
  await looks(page, true);
  const more = page.getByRole("button", { name: /show \d+ more/i });
  const line = page.locator(".line", { hasText: "Test its memory." });
  await until("the trouble to be shown", async () => await line.isVisible() || await more.isVisible());
  if (!await line.isVisible()) await more.click();
  await line.getByText(`${machines[1].name}: It sends pieces that are not what was signed, say a,b.`).waitFor();
  for (const said of [`${machines[1].name} (banned by a, b)`, `${machines[2].name} (banned by c, d, e and 2 more)`]) await line.locator(".names span", { hasText: said }).waitFor();
  await shoot(page, "banned");
  await page.close();
});

// looks has somebody see the page, or nobody.
const looks = (page, seen) => page.evaluate(seen => {
  Object.defineProperty(document, "hidden", { value: !seen, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, seen);

// A machine's slot has the focus, as after a look at the machine: of all slots that
// one must not stand still.
test("what has changed while the server was away is seen when it is back", async () => {
  const page = await open("/");
  const slot = page.locator('[data-mac="52:54:00:00:00:07"]');
  await slot.focus();
  const machines = await api("/machines");
  machines.find(m => m.mac === "52:54:00:00:00:07").stage = "handed-over";
  let away = true;
  await page.route("**/api/v1/events", route => away ? route.abort() : route.fulfill({ contentType: "text/event-stream", body: `event: machines\ndata: ${JSON.stringify(machines)}\n\n` }));
  await looks(page, false);
  await looks(page, true);
  await page.getByText("Connection lost; trying again.").waitFor();
  await shoot(page, "lost");
  away = false;
  await slot.locator(".stage", { hasText: "handed-over" }).waitFor();
  await page.unroute("**/api/v1/events");
  await page.getByText("live", { exact: true }).waitFor();
  await page.close();
});

// A server that has lost its power says nothing more, not even that it has gone.
test("a server that falls silent is missed, and found again", async t => {
  const { hostname, port } = new URL(url);
  const conns = [];
  let silent = false;
  const proxy = createServer(near => {
    const far = connect(port, hostname), dead = silent;
    conns.push(near, far);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.on("data", data => { if (!silent && !dead) to.write(data); });
    }
  });
  await new Promise(listening => proxy.listen(0, "127.0.0.1", listening));
  t.after(() => {
    for (const conn of conns) conn.destroy();
    proxy.close();
  });
  const page = await open(`http://127.0.0.1:${proxy.address().port}/`, { clock: true });
  const live = page.getByText("live", { exact: true }), lost = page.getByText("Connection lost; trying again. What you see is of");
  await live.waitFor();
  silent = true;
  await page.clock.fastForward(46_000);
  await lost.waitFor();
  for (let i = 0; i < 8; i++) { // more often than a browser has connections
    const again = page.waitForRequest(request => request.url().endsWith("/events"));
    await page.clock.fastForward(90_000);
    await again;
    await page.clock.fastForward(46_000);
  }
  silent = false;
  await page.clock.fastForward(90_000);
  await live.waitFor();
  await lost.waitFor({ state: "detached" });
  await page.close();
});

test("what of the settings file is not in force is told, and who is taken out of it goes", async t => {
  const { file } = await api("/settings"), was = await readFile(file, "utf8");
  t.after(() => writeFile(file, was));
  const page = await open("/");
  const trouble = page.getByRole("region", { name: "The settings file needs somebody" });
  await page.waitForSelector(".slot");
  await writeFile(file, was + "traces: {url: 'http://127.0.0.1:9'}\n");
  await trouble.getByText("this takes effect after a restart of the server").waitFor();
  await trouble.getByText("traces: url none -> http://127.0.0.1:9").waitFor();
  await writeFile(file, was + "nonsense: 1\n");
  await trouble.getByText("was refused").waitFor();
  await trouble.getByText(/nonsense/).waitFor();
  await shoot(page, "settings");
  await keepsTheRules(page, "settings");

  const slot = page.locator('[data-mac="52:54:00:77:77:77"]');
  await writeFile(file, was.replace("machines:\n", "machines:\n  - {name: r01-n00, rack: r01, mac: '52:54:00:77:77:77'}\n"));
  await slot.waitFor();
  await trouble.waitFor({ state: "detached" });
  await writeFile(file, was);
  await slot.waitFor({ state: "detached" });
  assert.deepEqual(page.errors, []);
  await page.close();
});

// A browser makes six connections to a server; each page would hold one.
test("a page that nobody sees holds no connection", async () => {
  const page = await open("/");
  await page.waitForSelector(".slot");
  const events = request => request.url().endsWith("/events");
  await Promise.all([page.waitForEvent("requestfailed", events), looks(page, false)]);
  await Promise.all([page.waitForRequest(events), looks(page, true)]);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("the first paint comes within a second", async () => {
  const page = await open("/");
  await page.waitForSelector(".rack");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  console.log(`first paint after ${Math.round(paint)} ms`);
  assert.ok(paint < 5000, `first paint after ${paint} ms`); // a second, on a computer that does nothing else
  await page.close();
});

for (const [look, options] of [["light", {}], ["dark", { colorScheme: "dark" }], ["narrow", { viewport: { width: 390, height: 844 } }]]) {
  test(`every page is accessible, ${look}`, async () => {
    for (const [name, path] of [["racks", "/"], ["machines", "/machines"], ["machine", "/machines/52:54:00:00:00:00"], ["images", "/images"], ["swarms", "/swarms"], ["networks", "/networks"]]) {
      const page = await open(path, options);
      await page.waitForSelector(".card, .rack, .rows");
      await page.waitForTimeout(1200);
      await shoot(page, `${name}-${look}`);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(beyond, 0, `${name} is wider than the window`);
      await keepsTheRules(page, name);
      await page.close();
    }
  });
}
