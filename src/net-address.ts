/** Host and port as text, as settings and messages have them: `10.0.0.1:17001`, `[::1]:17001`. */

export interface NetAddress {
  readonly host: string;
  readonly port: number;
}

/** What one looks like, for settings. */
export const ADDRESS_PATTERN = "(\\[[0-9A-Fa-f:.]{2,45}\\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}";

/** "Every address of this machine", in the forms in which one listens on them: nothing that anybody could connect to. */
const EVERY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::", "[::]"]);

/** Whether a host is every address of a machine, and so no place where anybody is reached. */
export function isEveryAddress(host: string): boolean {
  return EVERY_ADDRESS.has(host);
}

/** An address of IPv6 in brackets, so that the port stands apart. */
export function formatAddress({ host, port }: NetAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** @returns `undefined` if the text is none. */
export function parseAddress(text: string): NetAddress | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port >= 1 && port <= 65535 ? { host, port } : undefined;
}
