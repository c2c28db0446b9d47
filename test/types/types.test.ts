/** Runs the compiler over the types that must, and must not, fit. */
import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";

test("what must not compile does not, and what must does", async () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const child = Bun.spawn([process.execPath, "check", "--no-script", "test/types/plugin-types.ts"], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
  expect(await child.exited, output).toBe(0);
});
