/**
 * The files of a ZIP archive, each read from where it lies when it is asked for: an archive may be
 * larger than the memory. Source: PKWARE's APPNOTE.TXT 6.3.
 */
import { crc32 } from "./crc32";
import { InputError } from "./errors";
import { Inflater } from "./inflate";

export interface ZipEntry {
  /** "/" between folders. */
  readonly name: string;
  /** Rejects with `InputError` for what is damaged, encrypted, too large, or packed in an unusual way. */
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
}

interface Place {
  readonly name: string;
  readonly encrypted: boolean;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly offset: number;
}

const [END, ENTRY, LOCAL] = [0x06054b50, 0x02014b50, 0x04034b50];
const [END_BYTES, ENTRY_BYTES, LOCAL_BYTES] = [22, 46, 30];
const [STORED, DEFLATED] = [0, 8];
/** What stands where a number is in the fields of ZIP64. */
const [LARGE16, LARGE32] = [0xffff, 0xffffffff];
/** No photograph is larger; a small archive may claim any size. */
export const MAX_ENTRY = 64 << 20;
const ZIP64 = "The archive is a ZIP64 one, for 4 GB or 65,535 files and more. Pack fewer images.";

/** All but the folders. Rejects with `InputError` for what is no archive, or cut off. */
export async function zipEntries(archive: Blob): Promise<ZipEntry[]> {
  const tail = await view(archive, Math.max(0, archive.size - END_BYTES - LARGE16), archive.size);
  const end = endOf(tail);
  const [disk, count, length, start] = [
    tail.getUint16(end + 4, true), tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true),
  ];
  if (count === LARGE16 || length === LARGE32 || start === LARGE32) throw new InputError(ZIP64);
  if (disk !== 0 || tail.getUint16(end + 8, true) !== count) {
    throw new InputError("The archive is one of several parts. Pack the images into one.");
  }
  if (start + length > archive.size) throw cutOff();
  const places = directory(await view(archive, start, start + length), count);
  return places
    .filter(({ name }) => !name.endsWith("/"))
    .map((place) => ({ name: place.name, bytes: () => unpack(archive, place) }));
}

/** Where the end record lies: the last one whose comment goes to the archive's end. */
function endOf(tail: DataView): number {
  for (let at = tail.byteLength - END_BYTES; at >= 0; at--) {
    const whole = at + END_BYTES + tail.getUint16(at + 20, true) === tail.byteLength;
    if (whole && tail.getUint32(at, true) === END) return at;
  }
  throw new InputError("The file is no ZIP archive, or is cut off. Choose another.");
}

function directory(data: DataView, count: number): Place[] {
  const places: Place[] = [];
  for (let at = 0; places.length < count; ) {
    if (at + ENTRY_BYTES > data.byteLength || data.getUint32(at, true) !== ENTRY) throw cutOff();
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => data.getUint16(at + field, true)) as [number, number, number];
    const next = at + ENTRY_BYTES + nameBytes + extraBytes + commentBytes;
    if (next > data.byteLength) throw cutOff();
    places.push({
      name: text(new Uint8Array(data.buffer, data.byteOffset + at + ENTRY_BYTES, nameBytes)),
      encrypted: (data.getUint16(at + 8, true) & 1) !== 0,
      method: data.getUint16(at + 10, true),
      crc: data.getUint32(at + 16, true),
      packed: data.getUint32(at + 20, true),
      size: data.getUint32(at + 24, true),
      offset: data.getUint32(at + 42, true),
    });
    at = next;
  }
  return places;
}

async function unpack(archive: Blob, place: Place): Promise<Uint8Array<ArrayBuffer>> {
  const { name, encrypted, method, crc, packed, size, offset } = place;
  if (encrypted) throw new InputError(`${name} is encrypted. Pack the images without a password.`);
  if (packed === LARGE32 || size === LARGE32 || offset === LARGE32) throw new InputError(ZIP64);
  if (size > MAX_ENTRY) throw new InputError(`${name} has ${size} bytes, the most is ${MAX_ENTRY}. Leave it out.`);
  if (method !== STORED && method !== DEFLATED) {
    throw new InputError(`${name} is packed by method ${method}. Pack it as most do (“deflate”).`);
  }
  const head = await view(archive, offset, offset + LOCAL_BYTES);
  if (head.byteLength < LOCAL_BYTES || head.getUint32(0, true) !== LOCAL) throw damaged(name);
  const from = offset + LOCAL_BYTES + head.getUint16(26, true) + head.getUint16(28, true);
  const data = archive.slice(from, from + packed);
  if (data.size !== packed || (method === STORED && packed !== size)) throw damaged(name);
  const bytes = method === STORED ? new Uint8Array(await data.arrayBuffer()) : await inflated(data, name, size);
  if (crc32(bytes) !== crc) throw damaged(name);
  return bytes;
}

async function inflated(data: Blob, name: string, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const inflater = new Inflater(data, "deflate-raw", name);
  try {
    inflater.expect(size);
    const bytes = new Uint8Array(size);
    await inflater.fill(bytes);
    return bytes;
  } finally {
    inflater.close();
  }
}

async function view(archive: Blob, from: number, to: number): Promise<DataView<ArrayBuffer>> {
  return new DataView(await archive.slice(from, to).arrayBuffer());
}

/** UTF-8, which some write without saying so; else a letter for each byte. */
function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return String.fromCharCode(...bytes);
  }
}

function cutOff(): InputError {
  return new InputError("The archive's list of files is damaged or cut off. Choose another.");
}

function damaged(name: string): InputError {
  return new InputError(`${name} is damaged in the archive. Pack it again.`);
}
