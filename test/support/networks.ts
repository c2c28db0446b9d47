/**
 * A network for each of some nodes (a network namespace of Linux), all on one bridge with the test, so that the ways between nodes can be cut as cables are: nobody
 * is told, what is sent is lost, and clients go on. Wants root, and `ip` (iproute2).
 *
 * A way is cut by an address of nobody: the node believes to know the other one's link address, and the bridge finds nobody who has it.
 */
import { placeAt } from "./places.ts";

const NOBODY = "02:00:00:00:00:01";

/** @throws {Error} If `ip` says no. */
function ip(line: string): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...line.split(" ")], { stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`ip ${line}: ${stderr.toString().trim()}`);
}

/** Whether this machine lets tests make networks. */
export function hasNetworks(): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0 || Bun.which("ip") === null) return false;
  const name = `bunch-try-${process.pid}`;
  try {
    ip(`link add bt${process.pid} type bridge`);
    ip(`link del bt${process.pid}`);
    ip(`netns add ${name}`);
    ip(`netns del ${name}`);
    return true;
  } catch {
    return false;
  }
}

export class Networks {
  readonly #ports: readonly number[];
  readonly #prefix = `bn${process.pid}`;
  /** Of the addresses for measuring networks, which nobody routes (RFC 2544). */
  readonly #subnet = `198.18.${process.pid % 256}`;
  readonly #cuts = new Set<string>();

  /** @param ports Of the nodes. Tests find them by these from here on. */
  constructor(ports: readonly number[]) {
    this.#ports = ports;
    const bridge = this.#prefix;
    ip(`link add ${bridge} type bridge`);
    ip(`addr add ${this.#subnet}.254/24 dev ${bridge}`);
    ip(`link set ${bridge} up`);
    for (const port of ports) {
      const [space, cable] = [this.#space(port), `${bridge}-${ports.indexOf(port)}`];
      ip(`netns add ${space}`);
      ip(`link add ${cable} type veth peer name eth0 netns ${space}`);
      ip(`link set ${cable} master ${bridge} up`);
      ip(`-n ${space} addr add ${this.#host(port)}/24 dev eth0`);
      ip(`-n ${space} link set eth0 up`);
      ip(`-n ${space} link set lo up`);
      placeAt(port, this.#host(port));
    }
  }

  /** What a command begins with that runs on a node's network. */
  within(port: number): readonly string[] {
    return ["ip", "netns", "exec", this.#space(port)];
  }

  /** Nothing gets from a node to the others, nor back. */
  cutOff(port: number): void {
    for (const other of this.#ports) {
      if (other === port) continue;
      this.#cut(port, other);
      this.#cut(other, port);
    }
  }

  /** All ways are as they were. */
  heal(): void {
    for (const cut of this.#cuts) ip(cut);
    this.#cuts.clear();
  }

  /** Takes all of it away. */
  remove(): void {
    for (const port of this.#ports) ip(`netns del ${this.#space(port)}`);
    ip(`link del ${this.#prefix}`);
  }

  #cut(from: number, to: number): void {
    const way = `-n ${this.#space(from)} neigh`;
    ip(`${way} replace ${this.#host(to)} lladdr ${NOBODY} dev eth0 nud permanent`);
    this.#cuts.add(`${way} del ${this.#host(to)} dev eth0`);
  }

  #space(port: number): string {
    return `${this.#prefix}-${port}`;
  }

  #host(port: number): string {
    return `${this.#subnet}.${1 + this.#ports.indexOf(port)}`;
  }
}
