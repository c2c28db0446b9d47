/**
 * dashboard: a page for operators at `/dashboard`, on every node: what state the cluster is in, why, and what to do.
 *
 * Promises: the page needs nothing from elsewhere and sends nothing there, and the browser is told to see to that; nothing in it is secret, so whoever reaches the port
 * may load it; all that it shows and does goes through REST, with the role of whoever looks. A token that is typed in is kept by the browser for that tab alone, and
 * is in no address.
 *
 * How: the sources are in `web/`. They are put together when somebody asks for the page for the first time, which takes about a tenth of a second beside the event
 * loop, and kept; a node at which nobody looks spends nothing on it. Without `http` nobody comes, and without `rest` there is nothing to show.
 */
import { httpService } from "../src/contracts/http.ts";
import { messageOf } from "../src/errors.ts";
import { Problem } from "../src/http/problem.ts";
import { definePlugin } from "../src/plugin.ts";
import type { PageFile } from "../src/world.ts";

const BASE = "/dashboard";

/** Scripts and styles of this origin alone; what uPlot sets on elements by script is no inline style. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PAGE_HEADERS = {
  "content-security-policy": POLICY,
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};
/** Their names say what is in them. */
const FILE_HEADERS = { "cache-control": "public, max-age=31536000, immutable" };

export default definePlugin({
  name: "dashboard",
  summary: "A page that shows the cluster, and from which it is operated.",
  uses: { http: httpService },
  setup(context) {
    const { http } = context.uses;
    const { pages, log } = context.world;
    if (http === undefined || pages === undefined) return;
    let files: Promise<readonly PageFile[]> | undefined;

    /** @throws {Problem} If it cannot be made: the next one to ask has it tried again. */
    const made = async (): Promise<readonly PageFile[]> => {
      try {
        return await (files ??= pages.make("dashboard", `${BASE}/`));
      } catch (thrown) {
        files = undefined;
        log.error("dashboard: the page cannot be made", { reason: messageOf(thrown) });
        throw new Problem("unavailable", "The page could not be made; this node's log says why.", { retryAfterS: 10 });
      }
    };
    const refuseOther = (request: Request): void => {
      if (request.method === "GET" || request.method === "HEAD") return;
      throw new Problem("method-not-allowed", "This path takes GET.", { headers: { allow: "GET, HEAD" } });
    };

    http.mount({
      prefix: BASE,
      async handle(request, caller) {
        refuseOther(request);
        const name = new URL(request.url).pathname.slice(BASE.length).replace(/^\//, "");
        if (name === "caller") {
          return Response.json({ role: caller.role, has_token: caller.hasToken, version: context.node.version });
        }
        const all = await made();
        const file = name === "" ? all[0] : all.slice(1).find((each) => each.name === name);
        if (file === undefined) throw new Problem("not-found", "Nothing is served at this path.");
        const headers = name === "" ? PAGE_HEADERS : FILE_HEADERS;
        return new Response(file.bytes, { headers: { "content-type": file.type, ...headers } });
      },
    });
    http.mount({
      prefix: "/",
      handle(request) {
        if (new URL(request.url).pathname !== "/") throw new Problem("not-found", "Nothing is served at this path.");
        refuseOther(request);
        return new Response(null, { status: 302, headers: { location: BASE } });
      },
    });
  },
});
