/** Where nodes are that tests know by their ports: on this machine's loopback, unless a test has put them elsewhere. */
const places = new Map<number, string>();

export function hostOf(port: number): string {
  return places.get(port) ?? "127.0.0.1";
}

export function placeAt(port: number, host: string): void {
  places.set(port, host);
}
