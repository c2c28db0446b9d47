/**
 * Types for programs that ask a node over HTTP: what Eden, or any other client that reads Elysia's types, makes calls from. Nothing of it is there at runtime.
 *
 * @example
 * ```ts
 * import { treaty } from "@elysiajs/eden";
 * import type { RestApp } from "bunch/client";
 *
 * const node = treaty<RestApp>("http://127.0.0.1:15500", { headers: { authorization: `Bearer ${token}` } });
 * const { data, error } = await node.cluster.info.get();
 * ```
 */
import type { createApp } from "./app.ts";

/** The operations, with what each takes and answers. */
export type RestApp = ReturnType<typeof createApp>;
