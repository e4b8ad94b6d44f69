// Builds the pages into ../dist: types from the API's description, one script,
// one style sheet. The same sources give the same bytes.
import { readFile, writeFile, rm, copyFile, readdir } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import * as esbuild from "esbuild";

const here = new URL("./", import.meta.url);
const dist = new URL("../dist/", here);

const description = JSON.parse(await readFile(new URL("../../../docs/openapi.json", here), "utf8"));
await writeFile(new URL("src/openapi.d.ts", here), astToString(await openapiTS(description)));

for (const name of await readdir(dist)) if (name !== "README") await rm(new URL(name, dist));
await copyFile(new URL("src/index.html", here), new URL("index.html", dist));
await copyFile(new URL("src/icon.svg", here), new URL("icon.svg", dist));
await esbuild.build({
  absWorkingDir: here.pathname,
  entryPoints: { page: "src/main.tsx" },
  outdir: dist.pathname,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "eof", // the licences of preact and uPlot ask for it
  logLevel: "warning",
});
