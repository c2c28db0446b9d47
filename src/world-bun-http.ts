/** The real world's doors for HTTP: Bun's own server, client and bundler. */
import { fileURLToPath } from "node:url";
import { listenError } from "./listen-error.ts";
import { formatAddress } from "./net-address.ts";
import type { HttpClient, HttpDoor, HttpListenOptions, HttpListener, HttpPost, PageFile, PageMaker } from "./world.ts";

export class BunHttpDoor implements HttpDoor {
  listen({ host, port, idleTimeoutS, maxBodyBytes, handle }: HttpListenOptions): HttpListener {
    try {
      const server = Bun.serve({
        hostname: host,
        port,
        idleTimeout: idleTimeoutS,
        maxRequestBodySize: maxBodyBytes,
        // Its own page shows the source.
        development: false,
        fetch(request, self) {
          const { address = "", port: from = 0 } = self.requestIP(request) ?? {};
          return handle(request, {
            remoteAddress: formatAddress({ host: address, port: from }),
            keepOpen: () => self.timeout(request, 0),
          });
        },
        // What fails before the request is handed on, or after its answer was: nobody's text leaves.
        error: () => new Response(null, { status: 500 }),
      });
      return {
        port: server.port ?? port,
        close: () => void server.stop(false),
        destroy: () => void server.stop(true),
      };
    } catch (thrown) {
      throw listenError(thrown, host, port);
    }
  }
}

export class BunHttpClient implements HttpClient {
  async post({ url, body, authorization, timeoutMs }: HttpPost): Promise<number> {
    const answer = await fetch(url, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        ...(authorization === undefined ? {} : { authorization }),
      },
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    // Whatever it says is not read: it may have no end.
    await answer.body?.cancel();
    return answer.status;
  }
}

/** The bundler works beside the event loop, for about a tenth of a second. */
export class BunPageMaker implements PageMaker {
  async make(name: string, base: string): Promise<readonly PageFile[]> {
    const { outputs } = await Bun.build({
      entrypoints: [fileURLToPath(new URL(`../web/${name}.html`, import.meta.url))],
      target: "browser",
      publicPath: base,
      minify: true,
    });
    const files = await Promise.all(
      outputs.map(async (output) => ({
        name: output.path.replace(/^\.\//, ""),
        type: output.type,
        bytes: new Uint8Array(await output.arrayBuffer()),
      })),
    );
    const isPage = (file: PageFile): boolean => file.name.endsWith(".html");
    return [...files.filter(isPage), ...files.filter((file) => !isPage(file))];
  }
}
