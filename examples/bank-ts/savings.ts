// The business: what becomes of a Command, and what an event makes of an account. Amounts are whole cents.

/** The state of one account; null stands for an account of which nothing is known yet. */
export interface Savings {
  readonly owner: string;
  readonly balance: bigint;
  readonly status: "NEW" | "OPEN" | "CLOSED";
}

/** The fields of all Commands and events together; the codec takes those that a schema names. */
export interface Fact {
  readonly owner?: string;
  readonly amount?: bigint;
  readonly rate_percent?: bigint; // in ten-thousandths
  readonly reason?: string;
}

export const REJECTION = "SavingsRejected";

/** Each Command, and the event that it ends in unless it is rejected. */
export const ENDS: ReadonlyMap<string, string> = new Map([
  ["OpenSavings", "SavingsOpened"],
  ["ReceiveDeposit", "SavingsDeposited"],
  ["WithdrawCash", "SavingsWithdrawn"],
  ["CreditInterest", "InterestCredited"],
  ["CloseSavings", "SavingsClosed"],
]);

const RATE_UNIT = 1_000_000n; // ten-thousandths of a percent in a whole

/** Decide what becomes of a Command. */
export function handle(command: string, data: Fact, account: Savings | null): [string, Fact] {
  const reason = refusal(command, data, account);
  if (reason) return [REJECTION, { reason }];
  const event = ENDS.get(command)!;
  if (command !== "CreditInterest") return [event, data];
  return [event, { ...data, amount: rounded(account!.balance * data.rate_percent!, RATE_UNIT) }];
}

function refusal(command: string, data: Fact, account: Savings | null): string {
  const status = account?.status ?? "NEW";
  if (command === "OpenSavings" && status === "NEW") return "";
  if (status === "CLOSED") return "CLOSED";
  if (command === "OpenSavings") return "ALREADY_OPEN";
  if (status === "NEW" || !account) return "NOT_OPEN";
  if ((data.amount ?? 1n) <= 0n || (data.rate_percent ?? 1n) <= 0n) return "NOT_POSITIVE";
  if (command === "WithdrawCash" && account.balance < data.amount!) return "INSUFFICIENT_FUNDS";
  return command === "CloseSavings" && account.balance !== 0n ? "NOT_EMPTY" : "";
}

/** Evolve an account by what happened. It changes nothing in place: a Command that fails leaves the account as it was. */
export function apply(event: string, data: Fact, account: Savings | null): Savings {
  const before = account ?? { owner: "", balance: 0n, status: "NEW" };
  switch (event) {
    case "SavingsOpened":
      return { ...before, owner: data.owner!, status: "OPEN" };
    case "SavingsDeposited":
    case "InterestCredited":
      return { ...before, balance: before.balance + data.amount! };
    case "SavingsWithdrawn":
      return { ...before, balance: before.balance - data.amount! };
    case "SavingsClosed":
      return { ...before, status: "CLOSED" };
    default:
      return before;
  }
}

/** Divide a positive number, rounded to a whole one, halves up. */
function rounded(value: bigint, by: bigint): bigint {
  return (2n * value + by) / (2n * by);
}
