// The bank's accounts as a Restate virtual object, TypeScript SDK: `node account.mjs`, port $PORT. Money in cents.
import * as restate from "@restatedev/restate-sdk";

// Node 20 lacks Promise.withResolvers, which the SDK calls for every invocation.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((yes, no) => { resolve = yes; reject = no; });
  return { promise, resolve, reject };
};

const account = restate.object({
  name: "Account",
  handlers: {
    ReceiveDeposit: async (ctx, amount) => {
      const balance = ((await ctx.get("balance")) ?? 0) + amount;
      ctx.set("balance", balance);
      return { event: "Deposited", amount, balance };
    },
    WithdrawCash: async (ctx, amount) => {
      const balance = (await ctx.get("balance")) ?? 0;
      if (balance < amount) return { event: "Rejected", amount, balance };
      ctx.set("balance", balance - amount);
      return { event: "Withdrawn", amount, balance: balance - amount };
    },
  },
});

restate.serve({ services: [account], port: Number(process.env.PORT) });
