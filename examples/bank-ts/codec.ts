// Avro: the schemas of this folder by name, and decimals as whole numbers of their smallest unit.
import { readFileSync, readdirSync } from "node:fs";
import avro from "avsc";

/** Numbers are written as Avro has them: two's complement, as few bytes as will do. */
class Decimal extends avro.types.LogicalType {
  private readonly limit: bigint;

  constructor(schema: avro.Schema, options?: object) {
    super(schema, options);
    this.limit = 10n ** BigInt((schema as unknown as { precision: number }).precision);
  }

  override _fromValue(bytes: Buffer): bigint {
    return this.fitting(BigInt.asIntN(8 * bytes.length, BigInt(`0x0${bytes.toString("hex")}`)));
  }

  override _toValue(value: bigint): Buffer {
    this.fitting(value);
    let size = 1;
    while (BigInt.asIntN(8 * size, value) !== value) size++;
    return Buffer.from(BigInt.asUintN(8 * size, value).toString(16).padStart(2 * size, "0"), "hex");
  }

  private fitting(value: bigint): bigint {
    if (value >= this.limit || value <= -this.limit) throw new Error("more digits than the schema allows");
    return value;
  }
}

/** The text of each schema, as the discovery tells it. */
export const texts = new Map<string, string>();
const types = new Map<string, avro.Type>();

for (const folder of ["protocol", "schemas"]) {
  const place = new URL(`../${folder}/`, import.meta.url);
  for (const file of readdirSync(place)) {
    const text = readFileSync(new URL(file, place), "utf8");
    texts.set(file.replace(".avsc", ""), text);
    types.set(file.replace(".avsc", ""), avro.Type.forSchema(JSON.parse(text), { logicalTypes: { decimal: Decimal } }));
  }
}

function type(schema: string): avro.Type {
  const found = types.get(schema);
  if (!found) throw new Error(`there is no schema ${schema}`);
  return found;
}

/** Read one value, all of the bytes and no more. Throws if they are anything else. */
export function decode<T>(schema: string, bytes: Buffer): T {
  return type(schema).fromBuffer(bytes) as T;
}

export function encode(schema: string, value: object): Buffer {
  return type(schema).toBuffer(value);
}
