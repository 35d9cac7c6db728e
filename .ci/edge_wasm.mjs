// Runs mlops-edge in node: edge_wasm.mjs PROGRAM.wasm MODEL.mled ROWS.tsv
// Every row of the file must get the very number that stands at its end, and what is wrong must be told.
import { readFileSync } from "node:fs";

const [program, model, rows] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(program), {});
const edge = instance.exports;

function put(bytes) {
  const place = edge.edge_buffer(bytes.length);
  new Uint8Array(edge.memory.buffer, place, bytes.length).set(bytes);
}

function message() {
  const length = edge.edge_error();
  return new TextDecoder().decode(new Uint8Array(edge.memory.buffer, edge.edge_buffer(length), length));
}

function encode(value, isText) {
  if (value === "") return [0];
  if (isText) {
    const text = new TextEncoder().encode(value);
    return [2, ...new Uint8Array(new Uint32Array([text.length]).buffer), ...text];
  }
  return [1, ...new Uint8Array(new Float64Array([Number(value)]).buffer)];
}

function check(right, what) {
  if (!right) {
    console.error(`error: ${what}`);
    process.exit(1);
  }
}

put(new TextEncoder().encode("not a model"));
check(edge.edge_load() > 0 && message().includes("MLED"), "a foreign file was not refused");
put(readFileSync(model));
check(edge.edge_load() === 0, "the model was refused");

let count = 0;
for (const line of readFileSync(rows, "utf8").trimEnd().split("\n")) {
  const values = line.split("\t");
  const expected = Number(values.pop());
  put(new Uint8Array(values.flatMap((value) => encode(value, value !== "" && Number.isNaN(Number(value))))));
  const found = edge.edge_predict();
  check(Object.is(found, expected), `row ${count}: ${found} instead of ${expected}; ${message()}`);
  count += 1;
}
put(new Uint8Array([0]));
check(Number.isNaN(edge.edge_predict()) && message().includes("found 1"), "a short row was not refused");
console.log(`edge: ${count} rows as on the host, ${readFileSync(program).length} bytes of wasm`);
