// What the admin pages show of machines, and do with them. appliance/e2e's
// TestPagesOfMachines runs this with two in QEMU: one is off, listed as r1-n01 with
// the image lab@stable, and the other is on and in no list.
import assert from "node:assert/strict";
import { test } from "node:test";
import { api, keepsTheRules, login, open, shoot, token, until } from "./browser.mjs";

const listed = "52:54:00:77:0c:01", stranger = "52:54:00:77:0c:02";
const machine = async mac => (await api("/machines")).find(m => m.mac === mac);
const reaches = (mac, stage) => until(`${stage} of ${mac}`, async () => {
  const m = await machine(mac);
  assert.notEqual(m?.condition, "failed", m?.why);
  return m?.times?.[stage] && m;
});

test("a machine that nobody has listed is adopted, and boots on", async () => {
  await reaches(stranger, "discovered");
  const page = await open("/networks");
  await page.getByText("QEMU").waitFor(); // it has told what it is
  await page.getByText("BIOS").waitFor();
  await shoot(page, "qemu-unknown");
  const adopt = page.getByRole("button", { name: "Adopt", exact: true });
  await page.getByRole("button", { name: `Adopt ${stranger}` }).click();
  await page.getByLabel("Name").fill("r1-n02");
  await page.getByLabel("Rack").fill("r1");
  await page.getByLabel("Image").fill("lab@1");
  await adopt.click();
  await login(page, "wrong");
  await page.getByText("this token is wrong").waitFor();
  assert.equal((await machine(stranger)).name, undefined);
  await login(page, token);
  await adopt.click();
  await page.getByText("takes it up within seconds").waitFor();
  await until("the machine to boot on", async () => (await machine(stranger)).image === "lab@1");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a machine is switched on, and shows its pieces, its peers and its console", async () => {
  const page = await open(`/machines/${listed}`);
  const power = page.locator(".card", { has: page.getByRole("heading", { name: "Power" }) });
  const on = power.getByRole("button", { name: "Switch on", exact: true });
  await power.getByRole("button", { name: "Switch on…" }).click();
  await on.click();
  await login(page, token);
  await on.click();
  await power.getByText("It is on.").waitFor();
  await reaches(listed, "switch-root");
  await page.locator(".log", { hasText: "systemd" }).waitFor();
  const peers = page.locator(".card", { has: page.getByRole("heading", { name: /Peers/ }) });
  await peers.getByText("the boot server").waitFor();
  const colours = await page.locator(".map canvas").evaluate(canvas => new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 0)).size);
  assert.ok(colours >= 2, `the map has ${colours} colours`);
  await shoot(page, "qemu-booting", true);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("both stand in their rack, up", async () => {
  await reaches(stranger, "seeding");
  await reaches(listed, "seeding");
  const page = await open("/");
  const rack = page.getByRole("region", { name: "Rack r1" });
  for (const mac of [listed, stranger]) {
    const slot = rack.locator(`[data-mac="${mac}"]`);
    await slot.locator(".stage", { hasText: "seeding" }).waitFor();
  }
  await rack.getByRole("link", { name: "2 r1-n02 up seeding" }).waitFor(); // as it is read aloud
  await page.getByText("Nothing needs you.").waitFor();
  await shoot(page, "qemu-racks");
  await keepsTheRules(page, "racks");
  await page.close();
});

test("the waterfall has every stage of a boot, beside the other machine's", async () => {
  const page = await open(`/machines/${listed}`);
  await page.locator(".waterfall caption", { hasText: "median of 1 boot of lab@1" }).waitFor();
  const stages = await page.locator(".waterfall tr", { has: page.locator(".bar:not(.usual)") }).locator("th").allTextContents();
  assert.deepEqual(stages, ["dhcp", "loader", "script", "kernel", "init", "network", "swarm", "root", "switch-root", "ready", "complete", "handed-over", "seeding"]);
  await page.getByRole("img", { name: "100 % of the image is here, 100 % of what a boot reads" }).waitFor();
  await page.locator(".log li", { hasText: "boot begins" }).first().waitFor();
  await shoot(page, "qemu-machine", true);
  await keepsTheRules(page, "machine");
  await page.close();
});

test("a tag is moved, and the machine's next boot is another image", async () => {
  const page = await open("/images");
  const tag = page.getByRole("button", { name: "Tag", exact: true });
  await page.getByRole("button", { name: "Tag lab@2" }).click();
  await page.getByPlaceholder("stable").fill("stable");
  await tag.click();
  await login(page, token);
  await tag.click();
  await page.locator(".card", { hasText: "lab@2" }).locator(".tag", { hasText: "lab@stable" }).waitFor();
  assert.equal((await machine(listed)).image, "lab@1", "a machine that runs keeps its image");
  await page.goto(page.url().replace("/images", `/machines/${listed}`));
  const power = page.locator(".card", { has: page.getByRole("heading", { name: "Power" }) });
  await power.getByRole("button", { name: "Switch off and on…" }).click();
  await power.getByRole("button", { name: "Switch off and on", exact: true }).click();
  await until("the next boot", async () => (await machine(listed)).image === "lab@2");
  await reaches(listed, "ready");
  await page.locator(".facts div", { hasText: "Image" }).filter({ hasText: "lab@2" }).waitFor();
  await page.locator(".waterfall").getByRole("rowheader", { name: "ready" }).waitFor();
  await page.locator(".card", { has: page.getByRole("heading", { name: "Boots before" }) }).getByText("lab@1").waitFor();
  await shoot(page, "qemu-next-boot", true);
  assert.deepEqual(page.errors, []);
  await page.close();
});
