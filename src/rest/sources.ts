/** What the operations of REST read from, and ask for changes. */
import type { Failover } from "../contracts/failover.ts";
import type { Migrations } from "../contracts/migration.ts";
import type { Clock } from "../world.ts";
import type { LocalCommands } from "./local-commands.ts";
import type { Peers } from "./peers.ts";
import type { ViewSources } from "./views.ts";

export interface RestSources extends ViewSources {
  readonly migrations: Migrations | undefined;
  readonly failover: Failover | undefined;
  /** This node, as its clients ask it. */
  readonly local: LocalCommands;
  /** Other nodes, as their clients ask them. */
  readonly peers: Peers;
  readonly clock: Clock;
}
