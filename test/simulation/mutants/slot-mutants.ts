/** Mutants of slots that move key by key: whole nodes that fail over by themselves, and an operator who moves slots meanwhile, must find them (`key-mover.ts`). */
import type { Mutant } from "./mutant.ts";

export const SLOT_MUTANTS: readonly Mutant[] = [
  {
    name: "gives-a-slot-away-with-keys",
    breaks: "A slot changes hands on its owner's word that it is empty (SAFETY 23).",
    file: "plugins/setslot.ts",
    find: "if (keyspace.slotSize(slot) > 0) {",
    replace: "if (keyspace.slotSize(slot) > 1000) {",
    run: "slots",
    seed: 83,
    withinSeeds: 30,
  },
  {
    name: "keys-change-on-their-way",
    breaks: "Commands on a slot wait while keys of it are on their way.",
    file: "src/slot-hold.ts",
    find: "if (hasKey) return key.slot;",
    replace: "if (hasKey) return NO_SLOT;",
    run: "slots",
    seed: 24,
    withinSeeds: 30,
  },
];
