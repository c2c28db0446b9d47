/** What the operations of REST read from, and ask for changes. */
import type { ClientPasswords } from "../client-passwords.ts";
import type { Failover } from "../contracts/failover.ts";
import type { Health } from "../contracts/health.ts";
import type { Meetings } from "../contracts/meetings.ts";
import type { Migrations } from "../contracts/migration.ts";
import type { BootTreeEntry } from "../node.ts";
import type { Clock } from "../world.ts";
import type { Nodes } from "./nodes.ts";
import type { ViewSources } from "./views.ts";

export interface RestSources extends ViewSources {
  readonly migrations: Migrations | undefined;
  readonly failover: Failover | undefined;
  readonly health: Health | undefined;
  readonly meetings: Meetings | undefined;
  readonly plugins: () => readonly BootTreeEntry[];
  readonly nodes: Nodes;
  readonly clock: Clock;
  /** Clients need a password: keys are nobody's to see without a token. */
  readonly passwords: Pick<ClientPasswords, "isNeeded">;
  /** Bytes that the values in one answer may have together. */
  readonly maxBatchBytes: number;
}
