// The protocol (evento/protocol/function.md): a call in, a reply out. It knows neither sockets nor what the bank does.
import { decode, encode, texts } from "./codec.js";
import { ENDS, type Fact, REJECTION, type Savings, apply, handle } from "./savings.js";

export interface Call {
  operation: "handle" | "apply" | "turn";
  namespace: string;
  entity: string;
  types: string[];
  ids: string[];
  versions: number[];
  states: Buffer[];
  counts: number[];
  item_types: number[];
  payloads: Buffer[];
  times: number[];
  command_ids: string[];
  contexts: unknown[];
}

class Failure extends Error {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

const events = [...ENDS.values(), REJECTION];

/** Tell whether the columns of a call fit together. */
export function fits(call: Call): boolean {
  const instances = call.ids.length;
  const items = call.counts.reduce((sum, count) => sum + count, 0);
  const commands = call.operation === "apply" ? 0 : items;
  return (
    call.counts.every((count) => count >= 0) &&
    call.item_types.every((index) => index >= 0 && index < call.types.length) &&
    [call.versions, call.states, call.counts].every((column) => column.length === instances) &&
    [call.item_types, call.payloads].every((column) => column.length === items) &&
    [call.times, call.command_ids, call.contexts].every((column) => column.length === commands)
  );
}

/** Go through the instances of a call, and through the items of each until one fails. */
export function work(call: Call): object {
  const reply = new Reply();
  let first = 0;
  for (const [instance, count] of call.counts.entries()) {
    reply.instance(call, instance, first, count);
    first += count;
  }
  return reply;
}

class Reply {
  readonly revision = "";
  readonly types = events;
  readonly done: number[] = [];
  readonly states: Buffer[] = [];
  readonly counts: number[] = [];
  readonly event_types: number[] = [];
  readonly payloads: Buffer[] = [];
  readonly failures: { instance: number; code: string; message: string }[] = [];

  instance(call: Call, instance: number, first: number, count: number): void {
    let state: Buffer = Buffer.alloc(0);
    let done = 0;
    try {
      const exists = call.versions[instance]! > 0 && count > 0;
      let account = exists ? decoded<Savings>("Savings", call.states[instance]!) : null;
      for (; done < count; done++) {
        [account, state] = this.item(call, first + done, account, state);
      }
    } catch (error) {
      const code = error instanceof Failure ? error.code : "handler-failed";
      this.failures.push({ instance, code, message: String((error as Error).message).slice(0, 1000) });
    }
    this.done.push(done);
    if (call.operation !== "handle") this.states.push(state);
  }

  /** Do one item: return the account after it and its bytes, and keep its event. What fails leaves nothing behind. */
  private item(call: Call, item: number, account: Savings | null, state: Buffer): [Savings | null, Buffer] {
    const name = call.types[call.item_types[item]!]!;
    const folds = call.operation === "apply";
    if (!(folds ? events.includes(name) : ENDS.has(name))) throw new Failure("unknown-type", name);
    const data = decoded<Fact>(name, call.payloads[item]!);
    const [event, happened] = folds ? [name, data] : handle(name, data, account);
    const payload = encode(event, happened);
    if (call.operation !== "handle") {
      account = apply(event, happened, account);
      state = encode("Savings", account);
    }
    if (!folds) {
      this.counts.push(1);
      this.event_types.push(events.indexOf(event));
      this.payloads.push(payload);
    }
    return [account, state];
  }
}

function decoded<T>(schema: string, bytes: Buffer): T {
  try {
    return decode<T>(schema, bytes);
  } catch (error) {
    throw new Failure("undecodable", `not ${schema}: ${(error as Error).message}`);
  }
}

/** Return what this function serves. */
export function discovery(): object {
  const schema = (name: string): string => texts.get(name)!;
  const commands = [...ENDS].map(([name, event]) => ({
    name,
    schema: schema(name),
    events: [event],
    rejections: [REJECTION],
  }));
  const happen = events.map((name) => ({ name, schema: schema(name) }));
  const savings = { namespace: "bank", name: "Savings", schema: schema("Savings"), applies: true, commands, events: happen };
  return { protocol: 1, sdk: "", revision: "", entities: [savings], single: false };
}
