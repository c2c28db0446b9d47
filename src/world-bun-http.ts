/** The real world's door for HTTP: Bun's own server. */
import { listenError } from "./listen-error.ts";
import { formatAddress } from "./net-address.ts";
import type { HttpDoor, HttpListenOptions, HttpListener } from "./world.ts";

export class BunHttp implements HttpDoor {
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
