/** Loopback: addresses that nobody on another machine can reach. */

/** Whether a host is loopback, in the forms that people write. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.[0-9]{1,3}){3}$/.test(host);
}
