/** Nodes that have little more than a bus, on a simulated network, and what each has heard. */
import { present } from "../../src/assert.ts";
import type { Config } from "../../src/config.ts";
import {
  type Bus,
  type BusAddress,
  BusChannel,
  type BusCluster,
  type BusSender,
  busService,
} from "../../src/contracts/bus.ts";
import { type Node, createNode } from "../../src/node.ts";
import { BusPeer, type BusPeerOptions, RawStream } from "./bus-peer.ts";
import { localClient } from "./local-node.ts";
import type { NetworkSettings } from "./sim-path.ts";
import { type SimHost, Simulation } from "./sim-world.ts";

export const STRANGER = "10.0.9.9";
export const STRANGER_ID = "f".repeat(40);
export const BUS_PORT = 16_379;
/** The cluster that nodes are in, if nothing else is said. */
export const CLUSTER: BusCluster = { id: "c", member: () => undefined };

export const addressOf = (host: string): BusAddress => ({ host, port: BUS_PORT });

export function busConfig(host: string, bus: Record<string, number>): Config {
  return { host, port: 6379, busPort: BUS_PORT, insecure: true, plugins: { raft: false, resp: false, bus } };
}

export interface Heard {
  readonly from: BusSender;
  readonly bytes: Uint8Array;
  readonly channel: BusChannel;
}

export interface AddOptions {
  readonly secret?: string;
  /** Its id; `undefined`: it is in none. */
  readonly cluster?: string | undefined;
}

export class BusWorld {
  readonly lines: string[] = [];
  readonly simulation: Simulation;
  readonly nodes = new Map<string, Node>();
  readonly heard = new Map<string, Heard[]>();
  /** Each with the id of its sender and the number that it begins with. */
  readonly datagrams = new Map<string, { readonly from: string; readonly number: number }[]>();
  /** Each link that was lost, as a host was told of it. */
  readonly losses = new Map<string, { readonly address: BusAddress; readonly nodeId: string | undefined }[]>();

  constructor(seed = 1, network: Partial<NetworkSettings> = {}) {
    this.simulation = new Simulation(seed, { network, sink: (line) => void this.lines.push(line) });
    this.simulation.observe(({ type, host }) => {
      if (type === "crashed") this.nodes.delete(host.name);
    });
  }

  async add(host: string, settings: Record<string, number> = {}, options: AddOptions = {}): Promise<Bus> {
    const { secret } = options;
    const id = "cluster" in options ? options.cluster : CLUSTER.id;
    for (const each of [this.heard, this.datagrams, this.losses]) each.set(host, []);
    this.simulation.addHost(host, async (world) => {
      const config = { ...busConfig(host, settings), ...(secret === undefined ? {} : { secret }) };
      const node = await createNode({ world, config });
      const bus = present(node.service(busService), "there is a bus");
      for (const channel of Object.values(BusChannel)) {
        bus.receive(channel, (from, bytes) => this.heard.get(host)?.push({ from, bytes, channel }));
      }
      bus.receiveDatagrams((from, bytes) => this.datagrams.get(host)?.push({ from, number: numberOf(bytes) }));
      bus.onLinkLost((address, nodeId) => this.losses.get(host)?.push({ address, nodeId }));
      bus.setCluster(id === undefined ? undefined : this.cluster(id));
      await node.start();
      this.nodes.set(host, node);
    });
    await this.started(host);
    return this.bus(host);
  }

  async started(host: string): Promise<void> {
    await this.simulation.runUntil(`${host} to start`, () => this.nodes.has(host), 1000);
  }

  /** A cluster of all nodes that are up, at their present starts. */
  cluster(id: string): BusCluster {
    return {
      id,
      member: (nodeId) => {
        const found = [...this.nodes].find(([, { facts }]) => facts.id === nodeId);
        return found === undefined ? undefined : { start: found[1].facts.runId, address: addressOf(found[0]) };
      },
    };
  }

  idOf(host: string): string {
    return present(this.nodes.get(host), `${host} is up`).facts.id;
  }

  bus(host: string): Bus {
    return present(this.nodes.get(host)?.service(busService), `there is a bus on ${host}`);
  }

  /** What a host has heard, as numbers of 32 bits that its frames begin with. */
  numbers(host: string): readonly number[] {
    return (this.heard.get(host) ?? []).map(({ bytes }) => numberOf(bytes));
  }

  logged(text: string): readonly string[] {
    return this.lines.filter((line) => line.includes(text));
  }

  async run(host: string, line: string): Promise<string> {
    const client = localClient(present(this.nodes.get(host), "it has started"));
    const reply = await this.simulation.settle(line, client.run(line), 1000);
    client.close();
    return reply;
  }

  async info(host: string, field: string): Promise<string | undefined> {
    return new RegExp(`^${field}:(.*?)\\r?$`, "m").exec(await this.run(host, "INFO cluster"))?.[1];
  }

  /** A machine without a bus, for whatever else may come. */
  stranger(): SimHost {
    return this.simulation.hosts.find(({ name }) => name === STRANGER) ?? this.simulation.addHost(STRANGER);
  }

  /** Opens a stream to a node's bus, and says bytes on it. */
  async say(host: string, ...pieces: readonly Uint8Array[]): Promise<RawStream> {
    const raw = new RawStream(this.stranger().world, addressOf(host));
    await this.simulation.runUntil("a stream to open or close", () => raw.isOpen || raw.isClosed, 5000);
    for (const piece of pieces) raw.write(piece);
    await this.simulation.runFor(50);
    return raw;
  }

  /** One of the cluster opens a link, and sends frames on the channel of consensus. */
  async join(host: string, ...frames: readonly Uint8Array[]): Promise<BusPeer> {
    const peer = this.peer(host);
    for (const frame of frames) peer.send(BusChannel.consensus, frame);
    await this.simulation.runFor(50);
    return peer;
  }

  /** Somebody who opens a link: one of the cluster, without a secret, but for what the options say. */
  peer(host: string, options: Partial<BusPeerOptions> = {}): BusPeer {
    const own = { nodeId: STRANGER_ID, address: { host: STRANGER, port: 1 }, clusterId: CLUSTER.id };
    return new BusPeer(this.stranger().world, addressOf(host), { ...own, ...options });
  }
}

/** A frame or a datagram that begins with a number. */
export function numbered(number: number, length = 4): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
