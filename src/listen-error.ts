/** Why one cannot listen, in words for whoever starts a node. */
import { NetworkError, type NetworkErrorCode } from "./world.ts";

/** @param thrown What the machine says. */
export function listenError(thrown: unknown, host: string, port: number): NetworkError {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  const [kind, words]: [NetworkErrorCode, string] =
    code === "EADDRINUSE"
      ? ["address-in-use", "another process listens there; stop it, or choose another port"]
      : code === "EADDRNOTAVAIL" || code === "ENOTFOUND"
        ? ["address-not-available", "this machine has no such address"]
        : code === "EACCES"
          ? ["not-permitted", "the system does not permit it; choose a port above 1023"]
          : ["failed", thrown instanceof Error ? thrown.message : String(thrown)];
  return new NetworkError(kind, `Cannot listen on ${host}:${port}: ${words}`);
}
