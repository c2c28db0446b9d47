/**
 * A browser for tests of the dashboard: the machine's own Chromium, without a window.
 *
 * Machines without one skip those tests, unless `BUNCH_STRICT=1`: there a missing browser is a failure. `BUNCH_CHROMIUM` names one that is not on the path.
 */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { source as axe } from "axe-core";
import { type Browser, type Page, chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** Where a Chromium is, if there is one. */
export function findChromium(): string | undefined {
  const named = process.env["BUNCH_CHROMIUM"];
  if (named !== undefined && named !== "") return named;
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  return NAMES.flatMap((name) => directories.map((directory) => join(directory, name))).find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Says whether tests that need a browser are to run: it is there, or `BUNCH_STRICT=1` asks for it. */
export function needsBrowser(): boolean {
  const isToRun = process.env["BUNCH_STRICT"] === "1" || findChromium() !== undefined;
  if (!isToRun)
    console.log("skipped: tests of the dashboard need Chromium (apt-get install chromium, or BUNCH_CHROMIUM)");
  return isToRun;
}

/** @throws {Error} If there is none. */
export async function startBrowser(): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === undefined) throw new Error("Cannot start Chromium: none is on the path");
  // Tests may run as root, and /dev/shm may be small: in containers.
  return await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}

export interface PageOptions {
  readonly token?: string;
  readonly width?: number;
  readonly height?: number;
  readonly colorScheme?: "light" | "dark";
}

/** A page, and what has gone wrong in it: scripts that fail, and what the browser refuses to load. */
export async function openPage(
  browser: Browser,
  { token, width = 1400, height = 900, colorScheme = "light" }: PageOptions = {},
): Promise<{ readonly page: Page; readonly complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => void complaints.push(error.message));
  page.on("console", (message) => {
    // Requests that a dead node does not answer are told by the page itself.
    const isExpected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/.test(message.text());
    if (message.type() === "error" && !isExpected) complaints.push(message.text());
  });
  if (token !== undefined) await page.addInitScript(`sessionStorage.setItem("bunch-token", ${JSON.stringify(token)})`);
  return { page, complaints };
}

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string | null;
    readonly help: string;
    readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
  }[];
}

/** What axe-core finds that keeps people from using the page: all that is moderate, serious or critical, a line each. */
export async function accessibilityFindings(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate<AxeResults>("axe.run(document, { resultTypes: ['violations'] })");
  return violations
    .filter(({ impact }) => impact !== "minor")
    .flatMap(({ id, impact, help, nodes }) =>
      nodes.map(({ html, failureSummary = "" }) => `${impact} ${id}: ${help}: ${html.slice(0, 160)} ${failureSummary}`),
    );
}
