// Looks for mistakes in docs/openapi.json that programs of others would stumble
// over; it ends with status 1 if there is one.
import { createConfig, lint } from "@redocly/openapi-core";

const problems = await lint({
  ref: new URL("../../../docs/openapi.json", import.meta.url).pathname,
  config: await createConfig({ extends: ["recommended-strict"] }),
});
for (const p of problems) console.error(`docs/openapi.json: ${p.location[0].pointer}: ${p.message} (${p.ruleId})`);
process.exitCode = problems.length ? 1 : 0;
