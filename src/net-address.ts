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

/**
 * Whether a text may be where a host is: an address of IPv4 or IPv6 as the operating system reads them, or a name. What ends in a number, or has a colon, is no
 * name: it is an address, or a mistake in one.
 */
export function isHost(text: string): boolean {
  if (text.includes(":")) return isIpv6(text);
  const labels = text.split(".");
  if (/^[0-9]+$/.test(labels.at(-1) ?? "")) return isIpv4(text);
  return text.length <= 253 && labels.every((label) => /^[A-Za-z0-9_-]+$/.test(label));
}

function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

/** Eight groups, or fewer around one "::"; an address of IPv4 may stand for the last two. */
function isIpv6(text: string): boolean {
  const sides = text.split("::");
  const groups = sides.flatMap((side) => (side === "" ? [] : side.split(":")));
  const last = groups.at(-1) ?? "";
  const hasIpv4 = last.includes(".") && text.endsWith(last);
  if (hasIpv4) groups.pop();
  const count = groups.length + (hasIpv4 ? 2 : 0);
  if (!groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group)) || (hasIpv4 && !isIpv4(last))) return false;
  return sides.length === 1 ? count === 8 : sides.length === 2 && count <= 7;
}
