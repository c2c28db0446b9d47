/**
 * The dashboard in a browser, before real nodes: it shows what is so, follows what happens, and does what it is told to; six nodes in processes of their own, three shards with
 * a replica each.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { present } from "../../src/assert.ts";
import { HTTP_PORT_OFFSET } from "../../src/config.ts";
import { accessibilityFindings, needsBrowser, openPage, startBrowser } from "../support/browser.ts";
import type { NodeView } from "../../src/rest/schemas.ts";
import { ask, until } from "../support/ask-nodes.ts";
import { endLeftovers } from "../support/bunch-server.ts";
import { TOKENS } from "../support/http-door.ts";
import { type Shard, SixNodes } from "../support/six-nodes.ts";

const FIRST_PORT = 15_860;
const LIMIT_MS = 120_000;
const PATIENCE_MS = 30_000;
const BALLAST_KEYS = 3000;
/** What is moved so that there is something to even out. */
const UNEVEN_SLOTS = 3000;

const pageOf = (port: number): string => `http://127.0.0.1:${port + HTTP_PORT_OFFSET}/dashboard`;

describe.skipIf(!needsBrowser())("the dashboard", () => {
  let nodes: SixNodes;
  let browser: Browser;
  let shards: readonly Shard[];
  let page: Page;
  let complaints: string[] = [];

  const open = async (port: number, options: Parameters<typeof openPage>[1] = {}): Promise<Page> => {
    ({ page, complaints } = await openPage(browser, options));
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(pageOf(port));
    return page;
  };
  /** Opens it with a token, and waits until it shows all nodes. */
  const openWhole = async (port: number, options: Parameters<typeof openPage>[1] = {}): Promise<Page> => {
    await open(port, { token: TOKENS.operateToken, ...options });
    await page.locator("#node-rows tr").nth(5).waitFor();
    await page.locator("#connection[data-state=live]").waitFor();
    return page;
  };
  const nameOf = (port: number): string => `node-${port}`;

  beforeAll(async () => {
    const flags = [
      "--http-operate-token",
      TOKENS.operateToken,
      "--http-read-token",
      TOKENS.readToken,
      "--http-requests-per-second",
      "0",
      // A browser takes the processors for itself for a moment: no shard is to change hands for that.
      "--failover-lease-ms",
      "4000",
      // Nor is it news that they are slow meanwhile.
      "--health-loop-lag-warn-ms",
      "60000",
      "--health-loop-lag-critical-ms",
      "60000",
    ];
    nodes = await SixNodes.start(FIRST_PORT, flags);
    browser = await startBrowser();
  }, LIMIT_MS);
  afterAll(async () => {
    await browser.close();
    await endLeftovers();
  });
  beforeEach(async () => {
    shards = await nodes.whole();
  }, LIMIT_MS);
  afterEach(async () => {
    await page.context().close();
    expect(complaints).toEqual([]);
  });

  test(
    "shows the cluster, live, to whoever may read, and offers no more",
    async () => {
      await openWhole(FIRST_PORT, { token: TOKENS.readToken });
      await page.locator("#state", { hasText: /^ok$/ }).waitFor();
      expect(await page.locator("#shard-rows tr").count()).toBe(3);
      expect(await page.locator("#node-rows tr [data-level=ok]").filter({ hasText: "alive" }).count()).toBe(6);
      expect(await page.locator("#map-word").textContent()).toContain("16384 slots, 128 in a row, in 3 shards.");
      await page.locator("#shard-rows", { hasText: /held, [0-9]+ ms left/ }).waitFor();
      expect(await page.getByRole("button", { name: "Rebalance" }).isVisible()).toBe(false);
      await page
        .getByRole("button", { name: /^Details of the shard/ })
        .first()
        .click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("use a token with the role operate").waitFor();
      expect(await dialog.getByRole("button", { name: "Fail over" }).count()).toBe(0);
      // By the keyboard alone.
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "hidden" });
    },
    LIMIT_MS,
  );

  test(
    "takes a token that is typed in, keeps it for the tab, and puts it into no address",
    async () => {
      const addresses: string[] = [];
      await open(FIRST_PORT);
      page.on("request", (request) => void addresses.push(request.url()));
      await page.getByRole("button", { name: "Without a token: read" }).click();
      await page.getByLabel("Token", { exact: true }).fill("wrong-0123456789abcdef");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("none of this node's").waitFor();
      await page.getByLabel("Token", { exact: true }).fill(TOKENS.operateToken);
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: "Token: operate" }).waitFor();
      await page.locator("#connection[data-state=live]").waitFor();
      expect(
        addresses.filter(
          (address) => address.includes(TOKENS.operateToken) || !address.startsWith("http://127.0.0.1:"),
        ),
      ).toEqual([]);
      await page.reload();
      await page.getByRole("button", { name: "Token: operate" }).waitFor();
      expect(await page.evaluate("localStorage.length")).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "asks for nothing more once its token is none any more, says so, and goes on with another one",
    async () => {
      const rotated = "rotated-0123456789";
      ({ page, complaints } = await openPage(browser, {}));
      page.setDefaultTimeout(PATIENCE_MS);
      await page.clock.install();
      await page.goto(pageOf(FIRST_PORT));
      await page.evaluate(`sessionStorage.setItem("bunch-token", ${JSON.stringify(TOKENS.operateToken)})`);
      await page.reload();
      await page.getByRole("button", { name: "Token: operate" }).waitFor();
      await page.locator("#connection[data-state=live]").waitFor();

      expect(await ask(FIRST_PORT, `config set http-operate-token ${rotated}`)).toBe("+OK\r\n");
      await page.getByText("none of this node's").waitFor();
      await page.locator("#connection[data-state=lost]", { hasText: "a token is needed" }).waitFor();
      expect(await page.getByRole("button", { name: "Rebalance" }).isVisible()).toBe(false);
      // Not even when somebody comes back to the tab.
      const asked: string[] = [];
      page.on("request", (request) => void asked.push(request.url()));
      await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
      await page.clock.runFor(60_000);
      expect(asked).toEqual([]);

      await page.getByLabel("Token", { exact: true }).fill(rotated);
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: "Token: operate" }).waitFor();
      await page.locator("#connection[data-state=live]").waitFor();
      expect(await page.getByRole("button", { name: "Rebalance" }).isVisible()).toBe(true);
      expect(await ask(FIRST_PORT, `config set http-operate-token ${TOKENS.operateToken}`)).toBe("+OK\r\n");
    },
    LIMIT_MS,
  );

  test(
    "says why a slot is where it is",
    async () => {
      await openWhole(FIRST_PORT);
      await page.getByLabel("Slot", { exact: true }).fill("0");
      const owner = present(
        shards.find(({ has }) => has(0)),
        "slot 0 is somebody's",
      ).primary;
      await page.getByText(`Slot 0 is ${nameOf(owner)}'s.`).waitFor();
      await page.getByRole("button", { name: "Explain" }).click();
      await page.getByRole("dialog").getByRole("heading", { name: "What was decided" }).waitFor();
      await page
        .getByRole("dialog")
        .getByText(`Slot 0 is ${nameOf(owner)}'s.`)
        .waitFor();
    },
    LIMIT_MS,
  );

  test(
    "moves slots after a preview and a confirmation, and shows the move to its end",
    async () => {
      const source = present(shards[0], "there is a shard");
      const { Redis } = await import("ioredis");
      const client = new Redis({ port: source.primary, host: "127.0.0.1" });
      const value = "x".repeat(2000);
      // A tag of the source's, so that there is something to send.
      const { keySlot } = await import("../../src/codec/slot.ts");
      const tag = present(
        Array.from({ length: 1000 }, (_, at) => `tag${at}`).find((each) => {
          const bytes = new TextEncoder().encode(each);
          return source.has(keySlot(bytes, 0, bytes.length));
        }),
        "some tag is the shard's",
      );
      const tagBytes = new TextEncoder().encode(tag);
      const slot = keySlot(tagBytes, 0, tagBytes.length);
      await Promise.all(Array.from({ length: BALLAST_KEYS }, (_, at) => client.set(`{${tag}}${at}`, value)));
      await client.quit();

      await openWhole(FIRST_PORT);
      await page.getByRole("button", { name: `Details of the shard of ${nameOf(source.primary)}` }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: "Move slots..." }).click();
      const target = present(shards[1], "there is another shard").primary;
      await dialog.getByLabel("To").selectOption(nameOf(target));
      await dialog.getByLabel("Slots, such as").fill("16384");
      await dialog.getByRole("button", { name: "Go on" }).click();
      await dialog.getByRole("alert").filter({ hasText: "more than 16383" }).waitFor();
      await dialog.getByLabel("Slots, such as").fill(String(slot));
      await dialog.getByRole("button", { name: "Go on" }).click();
      await dialog.getByText(`${slot}: from ${nameOf(source.primary)} to ${nameOf(target)}.`).waitFor();
      // Nothing has happened yet.
      expect(await page.locator("#move-list li").count()).toBe(0);
      await dialog.getByRole("button", { name: `Move 1 slot to ${nameOf(target)}` }).click();
      await dialog.getByText("The move is under way").waitFor();
      await page.keyboard.press("Escape");
      await page.locator("#move-list li[data-state=completed]").waitFor();
      expect(await page.evaluate("document.querySelector('#move-list li[data-state=completed] progress').value")).toBe(
        1,
      );
      await page.getByLabel("Slot", { exact: true }).fill(String(slot));
      await page.getByText(`Slot ${slot} is ${nameOf(target)}'s.`).waitFor();
      await page.locator("#event-list").getByText("POST /cluster/migration/start").first().waitFor();
    },
    LIMIT_MS,
  );

  test(
    "makes a plan and shows what it would do, and does nothing that is not confirmed",
    async () => {
      await openWhole(FIRST_PORT);
      const source = present(shards[2], "there is a third shard").primary;
      await page.getByRole("button", { name: `Details of the shard of ${nameOf(source)}` }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: "Drain..." }).click();
      await dialog.getByRole("row").nth(2).waitFor();
      expect(await dialog.textContent()).toMatch(/2 moves: 5,46[0-9] slots with/);
      await dialog.getByRole("button", { name: "Go on" }).click();
      await dialog.getByRole("button", { name: "Not now" }).click();
      expect(await page.locator("#move-list li:not([data-state=completed])").count()).toBe(0);
      await page.getByRole("button", { name: "Rebalance" }).click();
      await dialog.getByRole("button", { name: "Make the plan" }).click();
      await dialog.getByRole("button", { name: "Not now" }).click();
    },
    LIMIT_MS,
  );

  test(
    "makes a plan, applies it when that is confirmed, and shows its move to the end",
    async () => {
      // They were even.
      const [away, home] = [present(shards[1], "there is a shard"), present(shards[2], "there is a third shard")];
      const last = home.slot + UNEVEN_SLOTS - 1;
      const ownerOf = async (slot: number): Promise<number | undefined> =>
        (await nodes.shards(FIRST_PORT)).find(({ has }) => has(slot))?.primary;
      const moved = await ask(home.primary, `cluster move ${nameOf(away.primary)} slotsrange ${home.slot} ${last}`);
      expect(moved).toStartWith("*1\r\n");
      await until(
        () => ownerOf(last),
        (owner) => owner === away.primary,
        "the slots to be at another shard",
      );

      await openWhole(FIRST_PORT);
      await page.getByRole("button", { name: "Rebalance" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: "Make the plan" }).click();
      const preview = dialog.getByRole("row", { name: `${nameOf(away.primary)} ${nameOf(home.primary)}` });
      await preview.waitFor();
      expect(await dialog.textContent()).toMatch(/1 move: 2,[0-9]{3} slots with/);
      expect(await dialog.textContent()).toMatch(/is [0-9.]{4} % from it, and [0-2]\.[0-9] % after that/);
      await dialog.getByRole("button", { name: "Go on" }).click();
      await dialog.getByText("The plan is refused if the shards have changed meanwhile.").waitFor();
      // Nothing has happened yet.
      expect(await ownerOf(last)).toBe(away.primary);
      await dialog.getByRole("button", { name: "Start 1 move" }).click();
      await dialog.getByText("1 move under way").waitFor();
      await page.keyboard.press("Escape");

      const way = `from ${nameOf(away.primary)} to ${nameOf(home.primary)}: completed`;
      const ended = page.locator("#move-list li[data-state=completed]", { hasText: way });
      await ended.first().waitFor();
      const bars = "[...document.querySelectorAll('#move-list li[data-state=completed] progress')]";
      expect(await page.evaluate(`${bars}.every(({ value }) => value === 1)`)).toBe(true);
      await page
        .locator("#event-list")
        .getByText(/POST \/cluster\/plans\/[^ ]+\/apply/)
        .first()
        .waitFor();
      const even = page.locator("#shard-rows tr", { hasText: /(53|54|55)[0-9]{2}: / });
      await even.nth(2).waitFor();
      await page.getByText("None is under way.").waitFor();
    },
    LIMIT_MS,
  );

  test(
    "is for everybody: axe-core finds nothing, in light and dark, wide and narrow, with a dialog and without",
    async () => {
      for (const options of [{}, { colorScheme: "dark" as const }, { width: 390, height: 800 }]) {
        await openWhole(FIRST_PORT, options);
        await page.locator("#shard-rows", { hasText: /held, / }).waitFor();
        expect(await accessibilityFindings(page)).toEqual([]);
        // Nothing sticks out: what is wide scrolls by itself.
        expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
        await page
          .getByRole("button", { name: /^Details of the shard/ })
          .first()
          .click();
        await page.getByRole("button", { name: "Move slots..." }).click();
        expect(await accessibilityFindings(page)).toEqual([]);
        if (options.width === undefined) await page.context().close();
      }
    },
    LIMIT_MS,
  );

  test(
    "has a replica take over after a preview and a confirmation",
    async () => {
      const { primary, replica } = present(shards[1], "there is a shard");
      await openWhole(FIRST_PORT);
      await page.getByRole("button", { name: `Details of the shard of ${nameOf(primary)}` }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: `Fail over to ${nameOf(replica)}...` }).click();
      await dialog.getByText("holds every acknowledged write").waitFor();
      await dialog.getByRole("button", { name: "Go on" }).click();
      await dialog.getByRole("button", { name: `Fail over to ${nameOf(replica)}`, exact: true }).click();
      await dialog.getByText("takes over").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: `Details of the shard of ${nameOf(replica)}` }).waitFor();
    },
    LIMIT_MS,
  );

  test(
    "shows 200 nodes: what is amiss first, and as much of the rest as one asks for",
    async () => {
      ({ page, complaints } = await openPage(browser, { token: TOKENS.operateToken }));
      page.setDefaultTimeout(PATIENCE_MS);
      const idOf = (at: number): string => at.toString(16).padStart(40, "0");
      const many = (items: readonly object[], count: number, more: (at: number) => object): object[] =>
        Array.from({ length: count }, (_, at) => Object.assign({}, items[at % items.length], more(at)));
      await page.route("**/cluster/nodes", async (route) => {
        const { nodes: real } = (await (await route.fetch()).json()) as { nodes: object[] };
        const told = many(real, 200, (at) => ({
          id: idOf(at),
          name: `many-${at}`,
          state: at === 150 ? "down" : "alive",
          is_myself: at === 0,
        }));
        await route.fulfill({ json: { nodes: told, count: 200 } });
      });
      await page.route("**/cluster/shards", async (route) => {
        const { shards: real } = (await (await route.fetch()).json()) as { shards: object[] };
        const told = many(real, 100, (at) => {
          const [start, end] = [Math.floor((at * 16_384) / 100), Math.floor(((at + 1) * 16_384) / 100) - 1];
          const members = { primary: idOf(at), replicas: [idOf(at + 100)], in_sync: [idOf(at), idOf(at + 100)] };
          const slots = [{ start, end, count: end - start + 1 }];
          return { ...members, id: idOf(at + 1000), slots, slot_count: end - start + 1 };
        });
        await route.fulfill({ json: { shards: told, count: 100 } });
      });
      // Half of their disks fill up.
      await page.route("**/cluster/health?nodes=all", async (route) => {
        const real = (await (await route.fetch()).json()) as { checks: { name: string }[] };
        const [check] = real.checks;
        const disk = { name: "disk", scope: "node", state: "warn", summary: "9 MB are free.", advice: "Make room." };
        const disks = many([present(check, "there is a check")], 100, (at) => ({ ...disk, node_id: idOf(at) }));
        await route.fulfill({ json: { ...real, state: "warn", checks: [...real.checks, ...disks], asked: 200 } });
      });
      await page.goto(pageOf(FIRST_PORT));
      const rows = page.locator("#node-rows tr");
      await rows.nth(199).waitFor();
      expect(await page.locator("#shard-rows tr").count()).toBe(100);
      await rows.first().getByText("many-150").waitFor();
      await rows.nth(1).getByText("alive, amiss: disk").waitFor();
      // The shard whose replica is gone.
      expect(await page.locator("#shard-rows tr").first().textContent()).toContain("many-50");
      // In a wide window nothing is empty beside what is amiss, however much that is: it takes all of the width, and the log is as high as the map.
      const boxOf = async (what: string) => present(await page.locator(what).boundingBox(), `${what} is there`);
      const [health, card, slots, log] = [
        await boxOf("#health"),
        await boxOf("#checks > li"),
        await boxOf("#slots"),
        await boxOf("#events"),
      ];
      expect(health.width).toBeGreaterThan(1300);
      expect(health.width - card.width).toBeLessThan(60);
      expect(Math.abs(slots.y + slots.height - log.y - log.height)).toBeLessThan(2);
      expect(slots.y - health.y - health.height).toBeLessThan(20);
      // What is the same on many is said once.
      const disk = page.locator("#checks > li", { hasText: "disk: warn" });
      await disk.getByText("many-3: 9 MB are free.").waitFor();
      expect(await disk.getByText("Make room.").count()).toBe(1);
      expect(await disk.getByText(/^and 96 more: many-4, many-5, .*, many-99$/).count()).toBe(1);
      expect(await accessibilityFindings(page)).toEqual([]);
      await page.getByLabel("only what is amiss").check();
      await page.getByText("101 of 200 nodes").waitFor();
      await page.getByLabel("only what is amiss").uncheck();
      await page.locator("#filter").getByRole("searchbox").fill("many-19");
      await page.getByText("11 of 200 nodes").waitFor();
    },
    LIMIT_MS,
  );

  test(
    "gives a move that is kept level the word that it waits for, when that is confirmed",
    async () => {
      const send = async (path: string, body?: object): Promise<unknown> => {
        const headers = { authorization: `Bearer ${TOKENS.operateToken}`, "content-type": "application/json" };
        const more = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
        return await (
          await fetch(`http://127.0.0.1:${FIRST_PORT + HTTP_PORT_OFFSET}${path}`, { headers, ...more })
        ).json();
      };
      const { nodes: listed } = (await send("/cluster/nodes")) as { readonly nodes: readonly NodeView[] };
      const { slots } = (await send("/cluster/slots")) as { readonly slots: readonly { readonly owner: string }[] };
      const owner = present(slots.at(-1), "the last slot is somebody's").owner;
      const other = present(
        listed.find(({ id, is_master: leads }) => leads && id !== owner),
        "there is another primary",
      );
      await openWhole(FIRST_PORT);
      await send("/cluster/migration/start", {
        slot: 16_383,
        from_node: owner,
        to_node: other.id,
        auto_complete: false,
      });
      const move = page.locator("#move-list > li", { hasText: "1 slot (16383)" });
      await move.getByText("level").first().waitFor();
      await move.getByRole("button", { name: "Complete the move of 1 slot" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText(`${other.name} gets them as soon as it has everything`).waitFor();
      await dialog.getByRole("button", { name: "Complete the move" }).click();
      await dialog.getByText("The move is completed.").waitFor();
      await page.keyboard.press("Escape");
      // That it waits for the word to be completed is told, too: what has ended has no buttons.
      await move.getByRole("button").first().waitFor({ state: "detached" });
      expect(await move.textContent()).toContain("completed");
    },
    LIMIT_MS,
  );

  test(
    "turns a killed node red, and what is done about it is told",
    async () => {
      const { primary, replica } = present(shards[0], "there is a shard");
      const asked = present(shards[1], "there is another shard").primary;
      await openWhole(asked);
      await nodes.end(primary, "SIGKILL");
      await page
        .locator(`#node-rows tr[data-name="${nameOf(primary)}"][data-state=down][data-level=critical]`)
        .waitFor();
      const colour = "getComputedStyle(document.querySelector('#node-rows tr[data-state=down] .level')).color";
      expect(await page.evaluate(colour)).toBe("rgb(179, 21, 27)");
      // The replica leads, and the page says so; the shard has a copy less.
      await page.locator("#shard-rows tr[data-level=warn]", { hasText: nameOf(replica) }).waitFor();
      await page.locator("#state", { hasText: "degraded" }).waitFor();
      await page.locator("#event-list", { hasText: `node ${nameOf(primary)} is down` }).waitFor();
      await page.locator("#event-list", { hasText: `${nameOf(replica)} promoted` }).waitFor();
      await page.locator("#checks li").first().waitFor();
      expect(await page.locator("#checks").textContent()).toContain("What to do:");
      nodes.start(primary);
      await page.locator(`#node-rows tr[data-name="${nameOf(primary)}"][data-state=alive]`).waitFor();
    },
    LIMIT_MS,
  );

  test(
    "says that it is cut off when its own node is gone, and goes on when that is back",
    async () => {
      const { replica } = present(shards[2], "there is a shard");
      await openWhole(replica);
      await nodes.end(replica, "SIGKILL");
      await page.locator("#connection[data-state=lost]").waitFor();
      nodes.start(replica);
      await page.locator("#connection[data-state=live]").waitFor();
    },
    LIMIT_MS,
  );
});
