/** A configuration file with a plugin of one's own: `bun run node --config examples/bunch.config.ts`. */
import { defineConfig } from "../src/define-config.ts";
import rateLimit from "./rate-limit.ts";

export default defineConfig({
  name: "example",
  use: [rateLimit],
  plugins: {
    resp: { maxClients: 1000 },
    eviction: { maxMemory: "256mb", policy: "allkeys-lru" },
    "rate-limit": { maxWindowMs: 3_600_000 },
  },
});
